/* SPDX-License-Identifier: BSD-3-Clause */
/* app/server/headscale_provision.c - `pillion headscale provision` */
#include "app/cli/flags.h"
#include "app/server/command.h"

#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/secret.h"
#include "clients/headscale.h"
#include "transport/tls.h"
#include "wire/json.h"

#include <errno.h>
#include <signal.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>

#define DEFAULT_FOLDER   "/var/lib/pillion/headscale"
#define DEFAULT_LIFETIME (90 * 24 * 3600 * NSEC_PER_SEC)
#define API_KEY_VARIABLE "PILLION_HEADSCALE_API_KEY"
#define API_KEY_MAX      1024

enum { URL, API_KEY, ACCOUNT, DEVICE, FOLDER, CA_FILE, LIFETIME, FLAG_COUNT };

static const struct flag flags[FLAG_COUNT] = {
	[URL] = FLAG_OF("url", FLAG_STRING, "URL", "the Headscale, as devices are to use it"),
	[API_KEY] = FLAG_OF("api-key", FLAG_STRING, "KEY",
			    "key of its API, or file:PATH; or the variable " API_KEY_VARIABLE),
	[ACCOUNT] = FLAG_OF("account", FLAG_STRING, "NAME",
			    "any name; the same one on every device of the account"),
	[DEVICE] =
		FLAG_OF("device", FLAG_STRING, "ID", "any name of this device within the account"),
	[FOLDER] =
		FLAG_OF("state", FLAG_STRING, "FOLDER", "where keys are kept (" DEFAULT_FOLDER ")"),
	[CA_FILE] = FLAG_OF("ca-file", FLAG_STRING, "FILE",
			    "PEM of the certificates to trust instead of the system's"),
	[LIFETIME] = FLAG_OF("key-lifetime", FLAG_DURATION, "TIME", "of a new key (2160h)"),
};

static const char help[] =
	"usage: pillion headscale provision --url URL --account NAME --device ID [FLAG…]\n\n"
	"Makes the account's user and the device's reusable key at a Headscale (0.28 or "
	"later)\n"
	"unless they are there, and prints {\"url\", \"key\"} for the device to join "
	"with.\n\n"
	"Examples:\n"
	"  pillion headscale provision --url https://headscale.example.com \\\n"
	"\t--api-key file:/run/secrets/headscale --account alice --device laptop\n\n";

/* hide() - Overwrite in place: /proc/PID/cmdline and environ show the process's own memory */
static void hide(const char *text)
{
	memset((char *)text, 'x', strlen(text));
}

/* read_api_key() - From the flag, its file, or the variable; both are overwritten */
static int read_api_key(const struct flag_value *flag, char out[static API_KEY_MAX],
			struct error *err)
{
	const char *variable = getenv(API_KEY_VARIABLE);
	const char *text = flag->given ? flag->text : variable;
	FILE *f;

	if (!text || !*text)
		return error_set(err, -EINVAL, "no API key: set --api-key or " API_KEY_VARIABLE);
	if (strncmp(text, "file:", 5) != 0) {
		snprintf(out, API_KEY_MAX, "%s", text);
		hide(text);
	} else {
		f = fopen(text + 5, "re");
		if (!f || !fgets(out, API_KEY_MAX, f)) {
			int r = f ? -ENODATA : -errno;

			if (f)
				fclose(f);
			return error_set_errno(err, r, "the API key's file %s", text + 5);
		}
		fclose(f);
	}
	if (variable && variable != text)
		hide(variable);
	out[strcspn(out, " \t\r\n")] = 0;
	return *out ? 0 : error_set(err, -EINVAL, "the API key is empty");
}

static int print_answer(const char *url, const char *key)
{
	struct buffer text = BUFFER_INIT(4096);
	struct json_writer w = json_writer_to(&text);
	int r;

	json_begin_object(&w, NULL);
	json_put_string(&w, "url", url);
	json_put_string(&w, "key", key);
	json_end_object(&w);
	r = json_writer_result(&w);
	if (r == 0 &&
	    (printf("%.*s\n", (int)text.length, buffer_head(&text)) < 0 || fflush(stdout) != 0))
		r = -EIO;
	buffer_free_secret(&text);
	return r;
}

static int provision(const struct flag_value v[FLAG_COUNT], struct error *err)
{
	const struct headscale_request q = {
		.url = v[URL].text,
		.account = v[ACCOUNT].text,
		.device = v[DEVICE].text,
		.folder = v[FOLDER].given ? v[FOLDER].text : DEFAULT_FOLDER,
		.now = clock_realtime(),
		.lifetime = v[LIFETIME].given ? v[LIFETIME].number : DEFAULT_LIFETIME,
	};
	struct headscale_http *http = NULL;
	struct headscale_api api;
	struct error warning;
	char api_key[API_KEY_MAX], *key = NULL;
	int r = read_api_key(&v[API_KEY], api_key, err);

	if (r == 0)
		r = tls_init(err);
	if (r == 0)
		r = headscale_http_new(q.url, api_key, v[CA_FILE].given ? v[CA_FILE].text : NULL,
				       &http, err);
	explicit_bzero(api_key, sizeof(api_key));
	if (r == 0) {
		api = headscale_http_api(http);
		r = headscale_provision(&api, &q, &key, &warning, err);
	}
	if (r == 0 && warning.code < 0)
		fprintf(stderr,
			"pillion headscale provision: %s; continuing with the existing key\n",
			warning.text);
	if (r == 0)
		r = print_answer(q.url, key);
	secret_string_free(key);
	headscale_http_free(http);
	return r;
}

static int check(const struct flag_value v[FLAG_COUNT], struct error *err)
{
	static const int needed[] = {URL, ACCOUNT, DEVICE};

	for (size_t i = 0; i < ARRAY_SIZE(needed); i++)
		if (!v[needed[i]].given || !*v[needed[i]].text)
			return error_set(
				err, -EINVAL,
				"--%s is missing: see 'pillion headscale provision --help'",
				flags[needed[i]].name);
	if (v[LIFETIME].given && v[LIFETIME].number < 60 * NSEC_PER_SEC)
		return error_set(err, -EINVAL, "--key-lifetime must be at least a minute");
	return 0;
}

int headscale_run_provision(int argc, char **argv)
{
	struct flag_value values[FLAG_COUNT] = {0};
	struct error err = {0};
	int r;

	if (!flags_of_command("pillion headscale provision", help, flags, values, FLAG_COUNT,
			      argc - 1, argv + 1, &r))
		return r;
	if (check(values, &err) < 0)
		return complain(EXIT_USAGE, "%s", err.text);
	(void)signal(SIGPIPE, SIG_IGN);
	if (sodium_init() < 0)
		return complain(EXIT_FAILS, "libsodium did not start");
	json_object_seed(0);
	r = provision(values, &err);
	return r < 0 ? complain(EXIT_FAILS, "%s", err.text) : EXIT_OK;
}
