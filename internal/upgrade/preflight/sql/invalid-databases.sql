SELECT format('%I', datname), 'left by a DROP DATABASE that was interrupted' FROM pg_database WHERE datconnlimit = -2
