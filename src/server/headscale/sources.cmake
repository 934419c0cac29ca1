list(APPEND server_sources headscale/child.c headscale/headscale_config.c headscale/headscale_keeper.c headscale/log_file.c
	headscale/process_file.c)
