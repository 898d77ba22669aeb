/*-------------------------------------------------------------------------
 *
 * turn_answer.c
 *	  The answers to the requests of a turn, until it has committed.
 *
 * Copyright (c) 2026, the actorstore developers
 *
 *-------------------------------------------------------------------------
 */
#include "runtime/turn.h"

#include "utils/memutils.h"

void
as_turn_need_answers(AsTurn *turn)
{
	if (turn->answers == NULL)
		turn->answers = MemoryContextAllocZero(GetMemoryChunkContext(turn->messages),
											   turn->nrequests * sizeof(AsAnswer));
}

void
as_turn_discard_answers(AsTurn *turn)
{
	for (int i = 0; turn->answers != NULL && i < turn->nrequests; i++)
		as_answer_discard(&turn->answers[i]);
	turn->answers = NULL;
}

void
as_turn_refuse(AsTurn *turn, int sqlerrcode, const char *message)
{
	ErrorData	error = {.sqlerrcode = sqlerrcode, .message = (char *) message};

	as_turn_need_answers(turn);
	for (int i = 0; i < turn->nrequests; i++)
	{
		if (as_request_is_asked(&turn->messages[i]))
			as_answer_make_error(&turn->answers[i], &error);
	}
}
