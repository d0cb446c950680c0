SELECT 'password_encryption', 'new passwords are kept as MD5' WHERE current_setting('password_encryption') = 'md5'
