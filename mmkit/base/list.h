/* SPDX-License-Identifier: MIT
 *
 * mmkit/base/list.h: a doubly linked list threaded through its items
 *
 * WHAT    A ring with a head. An item embeds struct mmk_link; an item that is
 *         on no list links to itself, so removing it again is harmless and
 *         mmk_link_is_on_list() can be asked.
 *
 *           head <-> a <-> b <-> c <-> head
 *
 * LAYER   base. Includes port.h.
 * LOCKS   none taken; the caller serializes
 * COST    every operation O(1) but mmk_list_check, which is O(n). 16 bytes.
 * SOURCE  Knuth, TAOCP vol. 1 (3rd ed.), section 2.2.5.
 */
#ifndef MMKIT_BASE_LIST_H
#define MMKIT_BASE_LIST_H

#include "port.h"

/* [C] caller serializes */
struct mmk_link {
	struct mmk_link *next; /* [C] */
	struct mmk_link *prev; /* [C] */
};

/* The head is a link that belongs to no item. */
struct mmk_list {
	struct mmk_link head; /* [C] */
};

/* The item of `type` whose `member` is at `link`. */
#define MMK_LIST_ITEM(link, type, member) MMK_CONTAINER_OF(link, type, member)

/* Visit each link; the current one may not be removed inside the loop. */
#define MMK_LIST_FOR_EACH(link, list)                      \
	for (struct mmk_link *link = (list)->head.next;    \
	     link != &(list)->head; link = link->next)

/* Visit each link; the current one may be removed inside the loop. */
#define MMK_LIST_FOR_EACH_SAFE(link, after, list)                       \
	for (struct mmk_link *link = (list)->head.next,                 \
			     *after = link->next;                       \
	     link != &(list)->head; link = after, after = link->next)

static inline void
mmk_link_init(struct mmk_link *link)
{
	link->next = link;
	link->prev = link;
}

static inline void
mmk_list_init(struct mmk_list *list)
{
	mmk_link_init(&list->head);
}

static inline bool
mmk_list_is_empty(const struct mmk_list *list)
{
	return list->head.next == &list->head;
}

static inline bool
mmk_link_is_on_list(const struct mmk_link *link)
{
	return link->next != link;
}

/* pre: `link` is on no list. It becomes the one before `where`. */
static inline void
mmk_list_insert_before(struct mmk_link *where, struct mmk_link *link)
{
	MMK_ASSERT(!mmk_link_is_on_list(link));
	link->next = where;
	link->prev = where->prev;
	where->prev->next = link;
	where->prev = link;
}

static inline void
mmk_list_push_front(struct mmk_list *list, struct mmk_link *link)
{
	mmk_list_insert_before(list->head.next, link);
}

static inline void
mmk_list_push_back(struct mmk_list *list, struct mmk_link *link)
{
	mmk_list_insert_before(&list->head, link);
}

/* Off its list, if it is on one. */
static inline void
mmk_list_remove(struct mmk_link *link)
{
	link->prev->next = link->next;
	link->next->prev = link->prev;
	mmk_link_init(link);
}

/* The first link, or NULL. */
static inline struct mmk_link *
mmk_list_first(const struct mmk_list *list)
{
	return mmk_list_is_empty(list) ? NULL : list->head.next;
}

/* The first link, taken off the list, or NULL. */
static inline struct mmk_link *
mmk_list_pop_front(struct mmk_list *list)
{
	struct mmk_link *link = mmk_list_first(list);

	if (link != NULL)
		mmk_list_remove(link);
	return link;
}

/* Every neighbour agrees with its neighbour. */
static inline bool
mmk_list_check(const struct mmk_list *list)
{
	const struct mmk_link *link = &list->head;

	do {
		if (link->next->prev != link)
			return false;
		link = link->next;
	} while (link != &list->head);
	return true;
}

#endif /* MMKIT_BASE_LIST_H */
