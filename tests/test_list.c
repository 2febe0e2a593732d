/* SPDX-License-Identifier: MIT
 *
 * tests/test_list.c: the contract of mmkit/base/list.h, by example, and by
 * oracle: an array of item numbers
 */
#include <criterion/criterion.h>
#include <signal.h>
#include <string.h>

#include <mmkit/base/list.h>

#include "prop.h"

enum { NR_ITEMS = 32 };

struct item {
	unsigned number;
	struct mmk_link link; /* not first, so that MMK_LIST_ITEM has work */
};

static struct mmk_list list;
static struct item items[NR_ITEMS];

static void
setup(void)
{
	mmk_list_init(&list);
	for (unsigned i = 0; i < NR_ITEMS; i++) {
		items[i].number = i;
		mmk_link_init(&items[i].link);
	}
}
TestSuite(list, .init = setup);
TestSuite(list_bugs, .init = setup);

static unsigned
number_of(struct mmk_link *link)
{
	return MMK_LIST_ITEM(link, struct item, link)->number;
}

static void
assert_numbers(const unsigned *numbers, unsigned nr)
{
	unsigned i = 0;

	cr_assert(mmk_list_check(&list));
	cr_assert_eq(mmk_list_is_empty(&list), nr == 0);
	MMK_LIST_FOR_EACH(link, &list)
	{
		cr_assert_lt(i, nr);
		cr_assert_eq(number_of(link), numbers[i]);
		i++;
	}
	cr_assert_eq(i, nr);
	for (struct mmk_link *link = list.head.prev; link != &list.head;
	     link = link->prev)
		cr_assert_eq(number_of(link), numbers[--i]);
	cr_assert_eq(i, 0);
}

Test(list, a_new_list_is_empty)
{
	cr_assert(mmk_list_is_empty(&list));
	cr_assert(mmk_list_check(&list));
	cr_assert_null(mmk_list_first(&list));
	cr_assert_null(mmk_list_pop_front(&list));
	MMK_LIST_FOR_EACH(link, &list)
	cr_assert_fail("nothing to visit");
	MMK_LIST_FOR_EACH_SAFE(link, after, &list)
	cr_assert_fail("nothing to visit");
}

Test(list, push_back_keeps_the_order_and_push_front_turns_it)
{
	for (unsigned i = 0; i < 3; i++)
		mmk_list_push_back(&list, &items[i].link);
	for (unsigned i = 3; i < 6; i++)
		mmk_list_push_front(&list, &items[i].link);
	assert_numbers((const unsigned[]){ 5, 4, 3, 0, 1, 2 }, 6);
	cr_assert_eq(mmk_list_first(&list), &items[5].link);
}

Test(list, insert_before_any_link)
{
	mmk_list_push_back(&list, &items[0].link);
	mmk_list_push_back(&list, &items[1].link);
	mmk_list_insert_before(&items[1].link, &items[2].link);
	mmk_list_insert_before(&items[0].link, &items[3].link);
	assert_numbers((const unsigned[]){ 3, 0, 2, 1 }, 4);
}

Test(list, remove_twice_is_harmless)
{
	mmk_list_push_back(&list, &items[0].link);
	mmk_list_push_back(&list, &items[1].link);
	cr_assert(mmk_link_is_on_list(&items[0].link));
	mmk_list_remove(&items[0].link);
	cr_assert(!mmk_link_is_on_list(&items[0].link));
	mmk_list_remove(&items[0].link);
	assert_numbers((const unsigned[]){ 1 }, 1);
}

Test(list, pop_front_takes_them_in_order)
{
	for (unsigned i = 0; i < 4; i++)
		mmk_list_push_back(&list, &items[i].link);
	for (unsigned i = 0; i < 4; i++) {
		struct mmk_link *link = mmk_list_pop_front(&list);

		cr_assert_eq(link, &items[i].link);
		cr_assert(!mmk_link_is_on_list(link));
	}
	assert_numbers(NULL, 0);
}

Test(list, safe_walk_may_remove_what_it_visits)
{
	for (unsigned i = 0; i < 6; i++)
		mmk_list_push_back(&list, &items[i].link);
	MMK_LIST_FOR_EACH_SAFE(link, after, &list)
	if (number_of(link) % 2 == 0)
		mmk_list_remove(link);
	assert_numbers((const unsigned[]){ 1, 3, 5 }, 3);
	MMK_LIST_FOR_EACH_SAFE(link, after, &list)
	mmk_list_remove(link);
	assert_numbers(NULL, 0);
}

Test(list, check_notices_a_neighbour_that_disagrees)
{
	for (unsigned i = 0; i < 3; i++)
		mmk_list_push_back(&list, &items[i].link);
	items[2].link.prev = &items[0].link;
	cr_assert(!mmk_list_check(&list));
	items[2].link.prev = &items[1].link;
	cr_assert(mmk_list_check(&list));
}

Test(list, prop_agrees_with_an_array)
{
	uint64_t seed = mmk_test_seed();
	unsigned order[NR_ITEMS], nr = 0;

	for (unsigned step = 0; step < mmk_test_steps(20000); step++) {
		unsigned n = (unsigned)(mmk_test_random(&seed) % NR_ITEMS);
		unsigned at = 0;

		while (at < nr && order[at] != n)
			at++;
		cr_assert_eq(mmk_link_is_on_list(&items[n].link), at < nr,
		    "MMK_SEED=%llu step %u",
		    (unsigned long long)mmk_test_seed(), step);
		if (at < nr) {
			mmk_list_remove(&items[n].link);
			nr--;
			memmove(&order[at], &order[at + 1],
			    (nr - at) * sizeof(order[0]));
		} else {
			at = (unsigned)(mmk_test_random(&seed) % (nr + 1));
			mmk_list_insert_before(at < nr ?
			        &items[order[at]].link : &list.head,
			    &items[n].link);
			memmove(&order[at + 1], &order[at],
			    (nr - at) * sizeof(order[0]));
			order[at] = n;
			nr++;
		}
		assert_numbers(order, nr);
	}
}

Test(list_bugs, insert_of_a_link_that_is_on_a_list_traps, .signal = SIGABRT)
{
	mmk_list_push_back(&list, &items[0].link);
	mmk_list_push_back(&list, &items[1].link);
	mmk_list_push_back(&list, &items[0].link);
}
