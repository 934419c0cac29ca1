list(APPEND server_sources
	control/access.c control/authority.c control/control.c control/login.c control/map.c control/metrics.c
	control/node.c control/node_maps.c control/node_quota.c control/node_register.c
	control/operator.c control/registry.c control/requests.c control/reserved.c control/session.c
	control/store.c control/dns_hook.c control/dns_hook_helper.c control/node_asks.c
	control/operator_json.c control/pages.c control/source_log.c control/ssh_check.c)
