DROP TABLE shop.products;
DROP TABLE shop.categories;
