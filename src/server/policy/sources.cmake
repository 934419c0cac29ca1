list(APPEND server_sources
	policy/hujson.c
	policy/policy_parse.c
	policy/policy_parse_names.c
	policy/policy_parse_rules.c
	policy/policy_parse_ssh.c
	policy/policy_parse_values.c
	policy/policy.c
	policy/policy_test.c
	policy/applied_rules.c
	policy/applied_ssh.c
	policy/applied_policy.c)
