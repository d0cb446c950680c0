SELECT format('%I', datname), 'SQL_ASCII' FROM pg_database WHERE datname = current_database() AND encoding = 0
