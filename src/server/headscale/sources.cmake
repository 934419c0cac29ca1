list(APPEND server_sources headscale/child.c headscale/config.c headscale/keeper.c headscale/log_file.c
	headscale/process_file.c)
