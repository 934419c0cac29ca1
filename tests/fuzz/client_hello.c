/* SPDX-License-Identifier: BSD-3-Clause */
/* tests/fuzz/client_hello.c - ClientHello; however it is divided over reads, the result is one */
#include "wire/client_hello.h"

#include <stdlib.h>
#include <string.h>

/* feed() - In pieces of @piece bytes; the result of the last */
static int feed(struct client_hello *hello, const uint8_t *data, size_t size, size_t piece)
{
	int r = 0;

	for (size_t at = 0; at < size && r == 0; at += piece)
		r = client_hello_feed(hello, data + at, piece < size - at ? piece : size - at);
	return r;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct client_hello whole = {0}, bytewise = {0};
	char name[CLIENT_HELLO_NAME_MAX];
	int r = feed(&whole, data, size, size + 1);

	if (feed(&bytewise, data, size, 1) != r)
		abort();
	if (r == 1 && whole.seen > size)
		abort();
	if (r == 1 && client_hello_name(data, whole.seen, name) == 0 &&
	    (strlen(name) == 0 || strlen(name) != strspn(name, "abcdefghijklmnopqrstuvwxyz"
							       "0123456789-_.")))
		abort();
	/* Bytes that were never counted must be as safe. */
	(void)client_hello_name(data, size, name);
	return 0;
}
