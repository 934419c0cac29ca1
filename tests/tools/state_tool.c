/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tests/tools/state_tool.c - tailscaled.state, read and written by our code
 *
 *	state_tool show FILE       the identity of the node, as JSON (public keys only)
 *	state_tool rewrite FILE    decode and encode it in place
 *	state_tool new FILE URL    a node that never logged in, for the control server URL
 */
#include "base/limits.h"
#include "node/state_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char bytes[LIMIT_STATE_FILE + 1];

static int load(const char *path, struct state_file *ret)
{
	FILE *file = fopen(path, "re");
	struct error err = {0};
	size_t length;

	if (!file) {
		perror(path);
		return 1;
	}
	length = fread(bytes, 1, sizeof(bytes), file);
	fclose(file);
	if (state_file_decode(bytes, length, ret, &err) < 0) {
		fprintf(stderr, "%s\n", err.text);
		return 1;
	}
	return 0;
}

static int save(const char *path, struct state_file *state)
{
	struct buffer out = BUFFER_INIT(LIMIT_STATE_FILE);
	FILE *file = fopen(path, "we");
	int r = 0;

	if (!file || state_file_encode(state, &out) < 0 ||
	    fwrite(buffer_head(&out), 1, out.length, file) != out.length) {
		perror(path);
		r = 1;
	}
	if (file && fclose(file) != 0)
		r = 1;
	buffer_free_secret(&out);
	return r;
}

static int show(struct state_file *s)
{
	char machine[KEY_TEXT_MAX], node[KEY_TEXT_MAX];
	struct public_key key;
	json_t *value;

	secret_key_public(&s->machine_key, &key);
	public_key_format(&key, KEY_MACHINE, machine);
	secret_key_public(&s->persist.node_key, &key);
	public_key_format(&key, KEY_NODE, node);
	value = json_pack("{s:s,s:s,s:s,s:s,s:s,s:s,s:b}", "profile", s->profile_id, "node_id",
			  s->persist.node_id, "machine_key", machine, "node_key", node,
			  "control_url", s->prefs.control_url, "hostname", s->prefs.hostname,
			  "want_running", s->prefs.want_running);
	json_dumpf(value, stdout, 0);
	putchar('\n');
	json_decref(value);
	return 0;
}

static int make(struct state_file *s, const char *url)
{
	json_t *masked = json_object();
	struct error err = {0};
	int r;

	if (state_file_init(s, &err) < 0)
		return 1;
	secret_key_generate(&s->persist.node_key);
	prefs_masked_set(masked, "ControlURL", json_string(url));
	prefs_masked_set(masked, "WantRunning", json_true());
	r = prefs_edit(&s->prefs, masked, &err);
	json_decref(masked);
	return r < 0;
}

int main(int argc, char **argv)
{
	struct state_file state = {0};
	int r;

	if (argc == 4 && strcmp(argv[1], "new") == 0)
		r = make(&state, argv[3]) || save(argv[2], &state);
	else if (argc == 3 && strcmp(argv[1], "rewrite") == 0)
		r = load(argv[2], &state) || save(argv[2], &state);
	else if (argc == 3 && strcmp(argv[1], "show") == 0)
		r = load(argv[2], &state) || show(&state);
	else
		return fprintf(stderr, "usage: state_tool show|rewrite FILE | new FILE URL\n"), 2;
	state_file_free(&state);
	return r;
}
