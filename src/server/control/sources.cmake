list(APPEND server_sources
	control/access.c control/authority.c control/control.c control/login.c control/map.c
	control/node.c control/operator.c control/registry.c control/requests.c control/session.c
	control/store.c)
