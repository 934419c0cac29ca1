/* SPDX-License-Identifier: BSD-3-Clause */
/* app/cli/command_cert.c - cert: a certificate and its key, into files */
#include "app/cli/command.h"
#include "app/cli/output.h"
#include "base/cleanup.h"
#include "base/secret.h"
#include "base/small_file.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define CERT_PATH       "/localapi/v0/cert/"
#define AUTHORITY_PATH  "/localapi/v0/cert-authority"
#define CERT_TIMEOUT_MS (20 * 60 * 1000) /* an order may take that long */
#define CERT_MODE       0644
#define KEY_MODE        0600
#define BEGINS          "-----BEGIN CERTIFICATE"

/* write_file() - Unless it has the text already; "-" is stdout. 0 or an exit code */
static int write_file(const char *what, const char *path, const char *text, mode_t mode)
{
	_cleanup_(secret_string_free_at) char *before = NULL;
	struct error err = {0};
	char capital[32];

	if (strcmp(path, "-") == 0)
		return fputs(text, stdout) < 0 ? EXIT_FAILS : EXIT_OK;
	snprintf(capital, sizeof(capital), "%s", what);
	capital[0] = (char)(capital[0] - 'a' + 'A');
	if (small_file_read(path, &before, NULL) == 0 && strcmp(before, text) == 0) {
		print_line(stdout, "%s unchanged at %s", capital, path);
		return EXIT_OK;
	}
	if (small_file_replace(path, text, strlen(text), &err) < 0 || chmod(path, mode) < 0)
		return complain(EXIT_FAILS, "%s", err.code ? err.text : strerror(errno));
	print_line(stdout, "Wrote %s to %s", what, path);
	return EXIT_OK;
}

static int print_authority(struct command_line *line)
{
	_cleanup_(secret_string_free_at) char *text = NULL;
	struct error err = {0};

	if (localapi_text(CERT_TIMEOUT_MS, localapi_socket_path(line->socket), AUTHORITY_PATH,
			  &text, &err) < 0)
		return complain(EXIT_FAILS, "%s", err.text);
	return fputs(text, stdout) < 0 ? EXIT_FAILS : EXIT_OK;
}

/* name_the_domain() - The command lacks one */
static int name_the_domain(struct command_line *line)
{
	_cleanup_json_ json_t *status = NULL;
	char name[PEER_NAME_MAX] = "";
	struct error err = {0};

	if (localapi_status(localapi_socket_path(line->socket), false, &status, &err) == 0)
		peer_name(json_object_get(status, "Self"), name);
	print_line(stderr, "Usage: pillion cert [flags] <domain>");
	if (*name)
		print_line(stderr, "\nFor domain, use \"%s\".", name);
	return EXIT_FAILS; /* as the official command */
}

/* default_name() - DOMAIN.crt, "wildcard_" for "*." */
static char *default_name(const char *domain, const char *end)
{
	bool wildcard = domain[0] == '*';
	char *name;

	return asprintf(&name, "%s%s%s", wildcard ? "wildcard_" : "", domain + wildcard, end) < 0
		       ? NULL
		       : name;
}

static bool fits(const char *domain)
{
	return *domain &&
	       domain[strspn(domain, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				     "0123456789-_.*")] == 0;
}

/* split() - The key, then the certificates; NULL: it is no such text */
static const char *split(char *pair, char **ret_key)
{
	const char *certificates = strstr(pair, BEGINS);

	*ret_key = certificates ? strndup(pair, (size_t)(certificates - pair)) : NULL;
	return *ret_key && strstr(*ret_key, "PRIVATE KEY") ? certificates : NULL;
}

int run_cert(struct command_line *line)
{
	_cleanup_(secret_string_free_at) char *pair = NULL, *key = NULL;
	_cleanup_free_ char *crt_name = NULL, *key_name = NULL, *target = NULL;
	const struct flag_value *own = line->own;
	const char *crt_file = own[CERT_FLAG_FILE].text, *key_file = own[CERT_FLAG_KEY].text;
	const char *domain = line->rest_count == 1 ? line->rest[0] : "", *certificates;
	struct error err = {0};
	int code;

	if (own[CERT_FLAG_CA].on)
		return print_authority(line);
	if (line->rest_count != 1)
		return name_the_domain(line);
	if (!fits(domain))
		return complain(EXIT_FAILS, "invalid domain \"%s\"", domain);
	if (!own[CERT_FLAG_FILE].given && !own[CERT_FLAG_KEY].given) {
		crt_file = crt_name = default_name(domain, ".crt");
		key_file = key_name = default_name(domain, ".key");
	}
	if (asprintf(&target, CERT_PATH "%s?type=pair&min_validity=%llds", domain,
		     (long long)(own[CERT_FLAG_VALIDITY].number / NSEC_PER_SEC)) < 0)
		target = NULL;
	if (!target || (own[CERT_FLAG_FILE].given ? 0 : !crt_file && !key_file))
		return complain(EXIT_FAILS, "out of memory");
	if (localapi_text(CERT_TIMEOUT_MS, localapi_socket_path(line->socket), target, &pair,
			  &err) < 0)
		return complain(EXIT_FAILS, "%s", err.text);
	certificates = split(pair, &key);
	if (!certificates)
		return complain(EXIT_FAILS, "the daemon's answer holds no certificate");
	code = crt_file && *crt_file ? write_file("public cert", crt_file, certificates, CERT_MODE)
				     : EXIT_OK;
	if (code == EXIT_OK && key_file && *key_file)
		code = write_file("private key", key_file, key, KEY_MODE);
	return code;
}
