list(APPEND server_sources headscale/headscale_config.c headscale/headscale_keeper.c
	headscale/process_lock.c)
