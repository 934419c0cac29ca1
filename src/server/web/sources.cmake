list(APPEND server_sources web/certificate_files.c web/certificate_maker.c web/metrics.c web/source_limit.c web/web_server.c)
