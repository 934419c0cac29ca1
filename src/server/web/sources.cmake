list(APPEND server_sources web/certificate_files.c web/metrics.c web/web_server.c)
