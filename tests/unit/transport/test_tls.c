/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tests/unit/transport/test_tls.c - the TLS client against a server with good and bad certificates
 *
 *	root CA -> leaf for good.example, 127.0.0.1	(GOOD)
 *	root CA -> leaf that ended yesterday		(EXPIRED)
 *	other CA -> leaf				(UNKNOWN)
 *	leaf signed by itself				(SELF)
 */
#include "base/limits.h"
#include "transport/dial.h"
#include "transport/tcp.h"
#include "transport/tls.h"
#include "unit/transport/peer.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

enum server_kind {
	GOOD,
	EXPIRED,
	UNKNOWN,
	SELF,
	GOOD_META, /* with the certificate that derper adds */
	SELF_META,
	SELF_TWO, /* and a second that isn't one */
	OLD,      /* TLS 1.1 at most */
	CUT,      /* ends without close_notify */
	NO_TLS,
};

static struct {
	EVP_PKEY *key;
	X509 *root, *other, *good, *expired, *unknown, *self, *meta;
	char pin[80];
	char *pem;
	size_t pem_length;
} certs;

static X509 *make_certificate(const char *name, X509 *issuer, int days, const char *alternatives,
			      bool ca)
{
	static long serial = 1;
	X509 *x = X509_new();
	X509V3_CTX context;
	X509_EXTENSION *extension;

	X509_set_version(x, 2);
	ASN1_INTEGER_set(X509_get_serialNumber(x), serial++);
	X509_gmtime_adj(X509_getm_notBefore(x), -3 * 86400L);
	X509_gmtime_adj(X509_getm_notAfter(x), days * 86400L);
	X509_set_pubkey(x, certs.key);
	X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_UTF8,
				   (const uint8_t *)name, -1, -1, 0);
	X509_set_issuer_name(x, X509_get_subject_name(issuer ? issuer : x));
	X509V3_set_ctx(&context, issuer ? issuer : x, x, NULL, NULL, 0);
	if (ca) {
		extension = X509V3_EXT_conf_nid(NULL, &context, NID_basic_constraints,
						"critical,CA:TRUE");
		X509_add_ext(x, extension, -1);
		X509_EXTENSION_free(extension);
	}
	if (alternatives) {
		extension = X509V3_EXT_conf_nid(NULL, &context, NID_subject_alt_name, alternatives);
		X509_add_ext(x, extension, -1);
		X509_EXTENSION_free(extension);
	}
	assert_true(X509_sign(x, certs.key, EVP_sha256()) > 0);
	return x;
}

static int make_certificates(void **state)
{
	static const char names[] = "DNS:good.example,IP:127.0.0.1";
	uint8_t digest[32];
	char *text;
	BIO *bio;

	(void)state;
	certs.key = EVP_EC_gen("P-256");
	certs.root = make_certificate("Test Root", NULL, 30, NULL, true);
	certs.other = make_certificate("Other Root", NULL, 30, NULL, true);
	certs.good = make_certificate("good", certs.root, 30, names, false);
	certs.expired = make_certificate("expired", certs.root, -1, names, false);
	certs.unknown = make_certificate("unknown", certs.other, 30, names, false);
	certs.self = make_certificate("self", NULL, 30, names, false);
	certs.meta = make_certificate("derpkey0123456789abcdef0123456789abcdef0123456789abcdef",
				      NULL, 30, NULL, false);
	X509_digest(certs.self, EVP_sha256(), digest, NULL);
	strcpy(certs.pin, "sha256-raw:");
	for (size_t i = 0; i < 32; i++)
		sprintf(certs.pin + strlen(certs.pin), "%02x", digest[i]);
	bio = BIO_new(BIO_s_mem());
	BIO_puts(bio,
		 "# a comment\n-----BEGIN CERTIFICATE-----\ndamaged\n-----END CERTIFICATE-----\n");
	PEM_write_bio_X509(bio, certs.root);
	certs.pem_length = (size_t)BIO_get_mem_data(bio, &text);
	certs.pem = malloc(certs.pem_length);
	memcpy(certs.pem, text, certs.pem_length);
	BIO_free(bio);
	return 0;
}

static int free_certificates(void **state)
{
	X509 *all[] = {certs.root,    certs.other, certs.good, certs.expired,
		       certs.unknown, certs.self,  certs.meta};

	(void)state;
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		X509_free(all[i]);
	EVP_PKEY_free(certs.key);
	free(certs.pem);
	return 0;
}

/* serve() - Handshake, then send each byte back until a record ends with "bye" */
static void serve(int fd, void *user)
{
	enum server_kind kind = *(enum server_kind *)user;
	X509 *leaf = kind == EXPIRED                                         ? certs.expired
		     : kind == UNKNOWN                                       ? certs.unknown
		     : kind == SELF || kind == SELF_META || kind == SELF_TWO ? certs.self
									     : certs.good;
	char buffer[16384];
	SSL_CTX *ctx;
	SSL *ssl;
	int length;

	if (kind == NO_TLS) {
		write_full(fd, "HTTP/1.1 400 Bad Request\r\n\r\n", 28);
		return;
	}
	ctx = SSL_CTX_new(TLS_server_method());
	SSL_CTX_use_certificate(ctx, leaf);
	SSL_CTX_use_PrivateKey(ctx, certs.key);
	if (kind == GOOD_META || kind == SELF_META)
		SSL_CTX_add1_chain_cert(ctx, certs.meta);
	if (kind == SELF_TWO)
		SSL_CTX_add1_chain_cert(ctx, certs.other);
	if (kind == OLD) {
		SSL_CTX_set_security_level(ctx, 0);
		SSL_CTX_set_min_proto_version(ctx, TLS1_VERSION);
		SSL_CTX_set_max_proto_version(ctx, TLS1_1_VERSION);
	}
	ssl = SSL_new(ctx);
	SSL_set_fd(ssl, fd);
	if (SSL_accept(ssl) == 1) {
		while ((length = SSL_read(ssl, buffer, sizeof(buffer))) > 0) {
			if (length >= 3 && memcmp(buffer + length - 3, "bye", 3) == 0)
				break;
			SSL_write(ssl, buffer, length);
		}
		if (kind != CUT)
			SSL_shutdown(ssl);
	}
	SSL_free(ssl);
	SSL_CTX_free(ctx);
	ERR_clear_error();
}

/* One client and the events it got. */
struct client {
	uv_loop_t loop;
	struct stream *stream;
	bool opened, ended, in_order;
	struct error err;
	size_t received, wanted;
	uint64_t sum;
	unsigned int pauses;
	uv_timer_t resume;
};

static void on_opened(void *user)
{
	struct client *c = user;

	c->opened = true;
	if (!c->wanted)
		assert_int_equal(stream_write(c->stream, "bye", 3), 0);
}

static void on_resume(uv_timer_t *timer)
{
	struct client *c = timer->data;

	if (c->stream)
		stream_resume(c->stream);
}

static void on_data(void *user, const uint8_t *bytes, size_t length)
{
	struct client *c = user;

	for (size_t i = 0; i < length; i++)
		c->sum = c->sum * 31 + bytes[i];
	c->received += length;
	if (c->received == c->wanted) {
		assert_int_equal(stream_write(c->stream, "bye", 3), 0);
	} else if (c->received / 100000 > c->pauses) {
		c->pauses++;
		stream_pause(c->stream);
		uv_timer_start(&c->resume, on_resume, 1, 0);
	}
}

static void on_closed(void *user, const struct error *err)
{
	struct client *c = user;

	c->ended = true;
	c->in_order = !err;
	if (err)
		c->err = *err;
	stream_close(c->stream);
	c->stream = NULL;
	if (!uv_is_closing((uv_handle_t *)&c->resume))
		uv_close((uv_handle_t *)&c->resume, NULL);
}

static const struct stream_events client_events = {
	.opened = on_opened,
	.data = on_data,
	.closed = on_closed,
};

static struct stream *connect_to(uv_loop_t *loop, uint16_t port)
{
	struct endpoint to = {.port = port};
	struct stream *tcp;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	address_parse("127.0.0.1", 9, &to.address);
	assert_int_equal(tcp_connect(loop, fd, &to, &tcp, NULL), 0);
	return tcp;
}

/* run_client() - One connection to @port until it ends */
static int run_client(struct client *c, struct tls_context *context, uint16_t port,
		      const struct tls_options *options, size_t wanted)
{
	int r;

	memset(c, 0, sizeof(*c));
	c->wanted = wanted;
	uv_loop_init(&c->loop);
	uv_timer_init(&c->loop, &c->resume);
	c->resume.data = c;
	r = tls_client(context, options, connect_to(&c->loop, port), &c->stream, &c->err);
	if (r == 0) {
		stream_set_events(c->stream, &client_events, c);
		if (wanted) { /* before it opened: all of it is queued */
			uint8_t *bytes = malloc(wanted);

			for (size_t i = 0; i < wanted; i++)
				bytes[i] = (uint8_t)(i * 7 + i / 256);
			assert_int_equal(stream_write(c->stream, bytes, wanted), 0);
			assert_int_equal(stream_write(c->stream, bytes, LIMIT_STREAM_QUEUE),
					 -ENOBUFS);
			free(bytes);
		}
	} else {
		uv_close((uv_handle_t *)&c->resume, NULL);
	}
	uv_run(&c->loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&c->loop), 0);
	return r;
}

static struct tls_context *context_with_root(void)
{
	struct tls_context *context;
	struct error err = {0};

	assert_int_equal(tls_context_create(&context, &err), 0);
	assert_int_equal(
		tls_context_set_roots(context, 0, certs.pem, certs.pem_length, "test.pem", &err),
		1);
	assert_int_equal(tls_context_roots(context), 1);
	return context;
}

static void certificates_by_table(void **state)
{
	const char *wrong_pin =
		"sha256-raw:0000000000000000000000000000000000000000000000000000000000000000";
	const struct {
		enum server_kind kind;
		const char *host, *cert_name;
		bool insecure;
		int code;         /* 0: it opens and ends in order */
		const char *text; /* that the error holds */
	} rows[] = {
		/* 1 */ {GOOD, "good.example", NULL, false, 0, NULL},
		/* 2 */ {GOOD, "127.0.0.1", NULL, false, 0, NULL},
		/* 3 */
		{GOOD, "bad.example", NULL, false, -EKEYREJECTED,
		 "is for good.example, 127.0.0.1, not for bad.example"},
		/* 4 */ {GOOD, "127.0.0.2", NULL, false, -EKEYREJECTED, "not for 127.0.0.2"},
		/* 5 */ {GOOD, "front.example", "good.example", false, 0, NULL},
		/* 6 */
		{GOOD, "good.example", "back.example", false, -EKEYREJECTED,
		 "not for back.example"},
		/* 7 */
		{EXPIRED, "good.example", NULL, false, -EKEYEXPIRED, "renew it on the server"},
		/* 8 */
		{UNKNOWN, "good.example", NULL, false, -EKEYREJECTED,
		 "--ca-file, TS_CA_FILE or SSL_CERT_FILE"},
		/* 9 */ {SELF, "good.example", NULL, false, -EKEYREJECTED, "--ca-file"},
		/* 10 */ {SELF, "good.example", NULL, true, 0, NULL},
		/* 11 */ {EXPIRED, "bad.example", NULL, true, 0, NULL},
		/* 12 */ {GOOD_META, "good.example", NULL, false, 0, NULL},
		/* 13 */ {SELF, "good.example", certs.pin, false, 0, NULL},
		/* 14 */ {SELF_META, "127.0.0.1", certs.pin, false, 0, NULL},
		/* 15 */ {SELF, "bad.example", certs.pin, false, -EKEYREJECTED, "for another name"},
		/* 16 */
		{SELF, "good.example", wrong_pin, false, -EKEYREJECTED, "not the pinned one"},
		/* 17 */
		{SELF_TWO, "good.example", certs.pin, false, -EKEYREJECTED, "more than one"},
		/* 18 */
		{GOOD, "good.example", certs.pin, false, -EKEYREJECTED, "not the pinned one"},
		/* 19 */ {OLD, "good.example", NULL, false, -EPROTO, "good.example"},
		/* 20 */
		{NO_TLS, "good.example", NULL, false, -EPROTO, "does not speak TLS on this port"},
		/* 21 */
		{CUT, "good.example", NULL, false, -ECONNABORTED, "cut the TLS connection"},
	};
	struct tls_context *context = context_with_root();

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct tls_options options = {
			.host = rows[i].host,
			.cert_name = rows[i].cert_name,
			.insecure = rows[i].insecure,
		};
		enum server_kind kind = rows[i].kind;
		struct client c;
		struct peer p;

		peer_start(&p, serve, &kind);
		assert_int_equal(run_client(&c, context, p.port, &options, 0), 0);
		peer_stop(&p);
		assert_true(c.ended);
		if (c.err.code != rows[i].code ||
		    (rows[i].text && !strstr(c.err.text, rows[i].text)))
			fail_msg("row %zu: %d '%s'", i + 1, c.err.code, c.err.text);
		assert_int_equal(c.in_order, rows[i].code == 0);
		assert_int_equal(c.opened, rows[i].code == 0 || kind == CUT);
	}
	tls_context_release(context);
}

static void unusable_options_are_refused(void **state)
{
	static const struct tls_options rows[] = {
		/* 1 */ {.host = "good.example", .cert_name = "sha256-raw:1234"},
		/* 2 */ {.host = ""},
		/* 3 */ {.host = NULL},
	};
	struct tls_context *context = context_with_root();
	enum server_kind kind = GOOD;
	struct peer p;

	(void)state;
	peer_start(&p, serve, &kind);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct client c;

		assert_int_equal(run_client(&c, context, p.port, &rows[i], 0), -EINVAL);
	}
	peer_stop(&p);
	tls_context_release(context);
}

static void bytes_arrive_whole_through_pauses(void **state)
{
	struct tls_options options = {.host = "good.example"};
	struct tls_context *context = context_with_root();
	enum server_kind kind = GOOD;
	const size_t wanted = 900000;
	uint64_t sum = 0;
	struct client c;
	struct peer p;

	(void)state;
	for (size_t i = 0; i < wanted; i++)
		sum = sum * 31 + (uint8_t)(i * 7 + i / 256);
	peer_start(&p, serve, &kind);
	assert_int_equal(run_client(&c, context, p.port, &options, wanted), 0);
	peer_stop(&p);
	assert_true(c.in_order);
	assert_int_equal(c.received, wanted);
	assert_true(c.sum == sum);
	assert_true(c.pauses >= 8);
	tls_context_release(context);
}

static void a_file_without_certificates_is_refused(void **state)
{
	struct tls_context *context;
	struct error err = {0};

	(void)state;
	assert_int_equal(tls_context_create(&context, &err), 0);
	assert_int_equal(tls_context_set_roots(context, 0, "hello", 5, "/etc/hello", &err),
			 -EINVAL);
	assert_non_null(strstr(err.text, "/etc/hello holds no certificate"));
	tls_context_release(context);
}

static void damaged_certificates_are_passed_over(void **state)
{
	struct tls_context *context;
	uint8_t *der = NULL;
	int length = i2d_X509(certs.root, &der);

	(void)state;
	for (int cut = 1; cut <= length; cut++) {
		BIO *bio = BIO_new(BIO_s_mem());
		char *text;
		long size;

		PEM_write_bio(bio, "CERTIFICATE", "", der, cut);
		size = BIO_get_mem_data(bio, &text);
		assert_int_equal(tls_context_create(&context, NULL), 0);
		assert_int_equal(tls_context_set_roots(context, 0, text, (size_t)size, "x", NULL),
				 cut == length ? 1 : -EINVAL);
		tls_context_release(context);
		BIO_free(bio);
	}
	OPENSSL_free(der);
}

/* how_it_ends() - The code of a connection to @kind with the roots of @context */
static int how_it_ends(struct tls_context *context, enum server_kind kind)
{
	struct tls_options options = {.host = "good.example"};
	struct client c;
	struct peer p;

	peer_start(&p, serve, &kind);
	assert_int_equal(run_client(&c, context, p.port, &options, 0), 0);
	peer_stop(&p);
	return c.err.code;
}

static void set_one(struct tls_context *context, unsigned int source, X509 *root)
{
	BIO *bio = BIO_new(BIO_s_mem());
	char *text;
	long size;

	PEM_write_bio_X509(bio, root);
	size = BIO_get_mem_data(bio, &text);
	assert_int_equal(tls_context_set_roots(context, source, text, (size_t)size, "x", NULL), 1);
	BIO_free(bio);
}

static void a_source_of_roots_is_replaced(void **state)
{
	struct tls_context *context = context_with_root();
	struct error err = {0};
	char *large;

	(void)state;
	assert_int_equal(how_it_ends(context, GOOD), 0);
	assert_int_equal(how_it_ends(context, UNKNOWN), -EKEYREJECTED);

	/* The authority that was there, and was used, is trusted no more. */
	set_one(context, 0, certs.other);
	assert_int_equal(tls_context_roots(context), 1);
	assert_int_equal(how_it_ends(context, GOOD), -EKEYREJECTED);
	assert_int_equal(how_it_ends(context, UNKNOWN), 0);

	/* What can't be read changes nothing. */
	assert_int_equal(tls_context_set_roots(context, 0, "cut", 3, "x", &err), -EINVAL);
	assert_int_equal(how_it_ends(context, UNKNOWN), 0);

	/* Each source by itself. */
	set_one(context, 1, certs.root);
	assert_int_equal(how_it_ends(context, GOOD), 0);
	assert_int_equal(how_it_ends(context, UNKNOWN), 0);
	assert_int_equal(tls_context_set_roots(context, 0, NULL, 0, "x", NULL), 0);
	assert_int_equal(how_it_ends(context, GOOD), 0);
	assert_int_equal(how_it_ends(context, UNKNOWN), -EKEYREJECTED);

	/* Repeatedly: at most half of the limit each time. */
	large = malloc(certs.pem_length * 1000);
	for (size_t i = 0; i < 1000; i++)
		memcpy(large + i * certs.pem_length, certs.pem, certs.pem_length);
	for (size_t i = 0; i < LIMIT_CA_BUNDLE / (certs.pem_length * 100); i++)
		assert_int_equal(tls_context_set_roots(context, 0, large, certs.pem_length * 1000,
						       "x", NULL),
				 1000);
	free(large);
	assert_int_equal(tls_context_roots(context), 1001);
	tls_context_release(context);
}

static void a_context_outlives_its_owner(void **state)
{
	struct tls_options options = {.host = "good.example"};
	struct tls_context *context = context_with_root();
	enum server_kind kind = GOOD;
	struct client c = {0};
	struct peer p;

	(void)state;
	peer_start(&p, serve, &kind);
	uv_loop_init(&c.loop);
	uv_timer_init(&c.loop, &c.resume);
	assert_int_equal(
		tls_client(context, &options, connect_to(&c.loop, p.port), &c.stream, &c.err), 0);
	stream_set_events(c.stream, &client_events, &c);
	tls_context_release(context); /* replaced, say, while the handshake is under way */
	uv_run(&c.loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&c.loop), 0);
	peer_stop(&p);
	assert_true(c.in_order);
}

struct dialed {
	unsigned int calls;
	bool open;
	struct error err;
};

static void on_dialed(void *user, struct stream *stream, const struct endpoint *to,
		      const struct error *err)
{
	struct dialed *d = user;

	(void)to;
	d->calls++;
	d->open = stream != NULL;
	if (err)
		d->err = *err;
	stream_close(stream);
}

static void dials_verify_the_name_they_were_given(void **state)
{
	static const char hosts[] = "127.0.0.1 good.example bad.example\n";
	static const struct tls_options same = {0}, other = {.host = "good.example"};
	static const struct {
		const char *host;
		const struct tls_options *tls;
		int code;
	} rows[] = {
		/* 1 */ {"good.example", &same, 0},
		/* 2 */ {"bad.example", &same, -EKEYREJECTED},
		/* 3 */ {"bad.example", &other, 0},
		/* 4 */ {"127.0.0.1", &same, 0},
	};
	struct dialer dialer = {.sockets = socket_source_direct(), .tls = context_with_root()};
	enum server_kind kind = GOOD;
	uv_loop_t loop;
	struct peer p;

	(void)state;
	peer_start(&p, serve, &kind);
	uv_loop_init(&loop);
	dialer.loop = &loop;
	assert_int_equal(names_create(&loop, dialer.sockets, &dialer.names, NULL), 0);
	assert_int_equal(names_configure(dialer.names, NULL, 0, hosts, strlen(hosts), NULL), 0);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct dial_options options = {
			.host = rows[i].host, .port = p.port, .tls = rows[i].tls};
		struct dialed d = {0};
		struct dial *dial;

		assert_int_equal(dial_start(&dialer, &options, on_dialed, &d, &dial, NULL), 0);
		while (!d.calls)
			uv_run(&loop, UV_RUN_ONCE);
		if (d.err.code != rows[i].code || d.open != (rows[i].code == 0))
			fail_msg("row %zu: %d '%s'", i + 1, d.err.code, d.err.text);
		if (rows[i].code)
			assert_memory_equal(d.err.text, "dial bad.example:", 17);
	}
	names_free(dialer.names);
	tls_context_release(dialer.tls);
	uv_run(&loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&loop), 0);
	peer_stop(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(certificates_by_table),
		cmocka_unit_test(unusable_options_are_refused),
		cmocka_unit_test(bytes_arrive_whole_through_pauses),
		cmocka_unit_test(a_file_without_certificates_is_refused),
		cmocka_unit_test(damaged_certificates_are_passed_over),
		cmocka_unit_test(a_source_of_roots_is_replaced),
		cmocka_unit_test(a_context_outlives_its_owner),
		cmocka_unit_test(dials_verify_the_name_they_were_given),
	};

	return cmocka_run_group_tests(tests, make_certificates, free_certificates);
}
