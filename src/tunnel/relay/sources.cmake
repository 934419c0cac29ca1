list(APPEND tunnel_sources relay/derp_client.c)
