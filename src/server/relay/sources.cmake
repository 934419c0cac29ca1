list(APPEND server_sources relay/derp_server.c relay/derp_frames.c relay/derp_peers.c relay/derp_queue.c)
