list(APPEND tunnel_sources
	wireguard/allowed_ips.c
	wireguard/cookie.c
	wireguard/device.c
	wireguard/handshake.c
	wireguard/hash_table.c
	wireguard/keypair.c
	wireguard/limiter.c
	wireguard/peer.c
	wireguard/receive.c
	wireguard/replay.c
	wireguard/send.c
	wireguard/timers.c)
