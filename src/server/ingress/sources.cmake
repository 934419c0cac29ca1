list(APPEND server_sources ingress/ingress.c ingress/ingress_client.c ingress/ingress_http.c ingress/ingress_call.c
	ingress/ingress_names.c ingress/ingress_metrics.c)
