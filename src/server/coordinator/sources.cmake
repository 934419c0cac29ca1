list(APPEND server_sources
	coordinator/tailnet_policy.c coordinator/coordinator.c coordinator/coordinator_answers.c coordinator/tailnet_login.c coordinator/tailnet_map.c coordinator/coordinator_metrics.c
	coordinator/machine_connection.c coordinator/machine_maps.c coordinator/machine_quota.c
	coordinator/operator.c coordinator/registry.c coordinator/machine_requests.c coordinator/tailnet.c coordinator/tailnet_nodes.c coordinator/tailnet_sessions.c
	coordinator/registry_store.c coordinator/dns_hook.c coordinator/dns_hook_helper.c coordinator/machine_asks.c
	coordinator/login_pages.c coordinator/source_log.c coordinator/tailnet_ssh_check.c)
