list(APPEND server_sources
	policy/hujson.c
	policy/parse.c
	policy/parse_names.c
	policy/parse_rules.c
	policy/parse_selector.c
	policy/parse_ssh.c
	policy/parse_tests.c
	policy/policy.c
	policy/policy_test.c
	policy/routes.c
	policy/rules.c
	policy/ssh.c
	policy/tailnet.c)
