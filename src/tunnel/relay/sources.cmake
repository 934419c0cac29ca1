list(APPEND tunnel_sources relay/derp_client.c relay/relay.c relay/region.c relay/packet_queue.c
	relay/routes.c relay/stun_servers.c)
