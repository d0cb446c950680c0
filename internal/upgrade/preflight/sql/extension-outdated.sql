SELECT format('%I', name), installed_version || ' installed, the server has ' || default_version
FROM pg_available_extensions
WHERE installed_version IS NOT NULL AND default_version IS NOT NULL AND installed_version <> default_version
