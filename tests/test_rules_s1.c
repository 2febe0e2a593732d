/* SPDX-License-Identifier: MIT
 *
 * tests/test_rules_s1.c: physical memory is managed by itself (S1.1)
 *
 * All of mmkit that this file calls is compiled here, from the headers of physmem
 * and what they include.
 */
#define MMKIT_STATIC
#define MMKIT_IMPLEMENTATION
#include "container_fixture.h"

#if defined(MMKIT_PMAP_TABLE_H) || defined(MMKIT_VM_VM_H)
#define KNOWS_VIRTUAL_MEMORY true
#else
#define KNOWS_VIRTUAL_MEMORY false
#endif

/* Credit, names and frames, with no address space anywhere. */
Test(rules_s1, S1_1_physmem_has_nothing_to_do_with_virtual_memory)
{
	struct mmk_container *from, *to;
	struct mmk_control child;
	char byte = 'x';

	cr_assert(!KNOWS_VIRTUAL_MEMORY);
	boot(8);
	ok(mmk_control_split(&t.root, &child, 4));
	from = container(&child);
	to = container(&t.root);
	ok(mmk_container_allocate(from, 0, 4 * PAGE, 0, NULL));
	cr_assert_eq(mmk_container_allocate(from, 4 * PAGE, PAGE, 0, NULL),
	    MMK_ERR_LIMIT);
	ok(mmk_container_write(from, PAGE, &byte, 1));
	ok(mmk_container_copy(from, 0, to, 0, 4 * PAGE, MMK_COPY_COW, 0, NULL));
	byte = 'y';
	ok(mmk_container_write(from, PAGE, &byte, 1));
	ok(mmk_container_read(to, PAGE, &byte, 1));
	cr_assert_eq(byte, 'x');
	cr_assert(mmk_physmem_check(&t.physmem));
	ok(mmk_control_destroy(&child));
	cr_assert_eq(mmk_container_read(from, 0, &byte, 1), MMK_ERR_NOENT);
	ok(mmk_container_read(to, PAGE, &byte, 1));
	cr_assert_eq(byte, 'x');
	ok(mmk_container_destroy(to));
	mmk_container_unref(from);
	mmk_container_unref(to);
	mmk_control_unref(&child);
	end();
}
