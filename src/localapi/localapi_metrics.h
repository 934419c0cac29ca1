/* SPDX-License-Identifier: BSD-3-Clause */
/* localapi/localapi_metrics.h - the Prometheus text, as both servers give it */
#pragma once

#include "localapi/http_server.h"
#include "node/node.h"

/** localapi_reply_metrics() - Answer with node_metrics() */
void localapi_reply_metrics(struct node *node, struct http1_exchange *x);
