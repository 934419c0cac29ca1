/* SPDX-License-Identifier: BSD-3-Clause */
/* control/core_internal.h - shared among the core files only */
#pragma once

#include "control/core.h"

/** control_core_free_slot() - The request on @slot is over */
void control_core_free_slot(struct control_core *c, enum control_slot slot);

/** control_core_cancel() - End the request on @slot, if there is one */
void control_core_cancel(struct control_core *c, enum control_slot slot);

/** control_core_note_trouble() - Tell why, and until when nothing is tried */
void control_core_note_trouble(struct control_core *c, const struct error *err, nanoseconds until);

/** control_core_map_failed() - The map session is over; the next one begins after @wait */
void control_core_map_failed(struct control_core *c, const struct error *err, nanoseconds wait,
			     nanoseconds now);

/** control_core_map_backoff() - The next wait of the map session, which has just ended */
nanoseconds control_core_map_backoff(struct control_core *c, nanoseconds now);

/** control_core_map_ended() - The server ended the map response */
void control_core_map_ended(struct control_core *c, nanoseconds now);

/** control_core_update_ended() - The answer to a lite update is complete */
void control_core_update_ended(struct control_core *c, nanoseconds now);

/** control_core_map_next() - What the map session and the updates have to do now */
enum control_output_kind control_core_map_next(struct control_core *c, struct control_output *out,
					       nanoseconds now, nanoseconds wall_clock);

/** control_core_send() - Occupy @slot with the request whose body stands in @c->body_told */
enum control_output_kind control_core_send(struct control_core *c, enum control_slot slot,
					   const char *path, struct control_output *out);
