list(APPEND server_sources web/web_server.c)
