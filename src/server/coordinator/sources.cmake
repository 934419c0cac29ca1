list(APPEND server_sources
	coordinator/coordinator.c coordinator/coordinator_answers.c coordinator/dns_hook.c coordinator/dns_hook_helper.c
	coordinator/login_pages.c coordinator/machine_asks.c
	coordinator/machine_sign.c coordinator/machine_connection.c coordinator/machine_maps.c
	coordinator/machine_requests.c coordinator/operator.c coordinator/registry.c coordinator/registry_store.c
	coordinator/source_log.c coordinator/tailnet.c coordinator/tailnet_login.c coordinator/tailnet_map.c
	coordinator/tailnet_nodes.c coordinator/tailnet_policy.c coordinator/tailnet_sessions.c
	coordinator/tailnet_ssh_check.c)
