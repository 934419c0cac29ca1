list(APPEND tunnel_sources
	packet/handover.c packet/inbound.c packet/outbound.c packet/ping.c packet/tun.c
	packet/tunnel.c packet/udp.c)
