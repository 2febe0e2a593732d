/* SPDX-License-Identifier: MIT
 *
 * mmkit/vm/vm.h: what all address spaces of one machine share
 *
 * WHAT    The context of the floor: where frames and translations come from,
 *         the pools of its small structures, one lock over amaps, anons and
 *         objects, the plug through which anons reach backing store, and
 *         counters of what happened.
 * LAYER   vm. Includes pmap.h and btree.h. Knows no maps.
 * LOCKS   lock (MMK_RANK_VM) guards every amap, anon and object, and every
 *         list of them. It is never held across a pager's get or put, a TLB
 *         shootdown or anything else that waits.
 * COST    a handful of words; every pool takes frames only as it is used
 * SOURCE  own; the words are UVM's (Cranor 1998)
 */
#ifndef MMKIT_VM_VM_H
#define MMKIT_VM_VM_H

#include "../base/btree.h"
#include "../base/list.h"
#include "../phys/move.h"
#include "../pmap/pmap.h"

MMK_BEGIN_DECLS

struct mmk_object;

/* X(name, text): how a fault was resolved, and what it cost. */
#define MMK_VM_COUNTER_LIST(X)                                            \
	X(FAULT, "faults")                                                \
	X(FAULT_SPURIOUS, "already mapped (0)")                           \
	X(FAULT_UPPER, "private page, mapped (1A)")                       \
	X(FAULT_IN_PLACE, "private page, sole owner writes in place (1A)") \
	X(FAULT_COW, "private page, copied on write (1B)")                \
	X(FAULT_OBJECT, "object page, mapped (2A)")                       \
	X(FAULT_PROMOTE, "object page, copied on write (2B)")             \
	X(FAULT_ZERO_READ, "zero page, mapped (2Z)")                      \
	X(FAULT_ZERO_FILL, "zero page, filled (2Z)")                      \
	X(FAULT_PAGER, "address given by the pager (2M, 2G)")             \
	X(FAULT_GET, "page brought in by the pager")                      \
	X(FAULT_AROUND, "neighbours mapped as well")                      \
	X(FAULT_GROW, "stack grown")                                      \
	X(FAULT_EMULATED, "accessed or modified noted")                   \
	X(FAULT_REFUSED, "refused: no region or no right")                \
	X(FAULT_FAILED, "failed: no memory or a pager's error")           \
	X(PAGE_COPY, "pages copied")                                      \
	X(PAGE_ZERO, "pages zero filled")                                 \
	X(PAGE_IN, "pages read")                                          \
	X(PAGE_OUT, "pages written")                                      \
	X(PAGE_MOVE, "pages moved to other frames")                       \
	X(AMAP_COPY, "amaps copied")                                      \
	X(FORK, "forks")

#define MMK_VM_COUNTER_ENUM(name, text) MMK_COUNT_##name,
enum mmk_vm_counter { MMK_VM_COUNTER_LIST(MMK_VM_COUNTER_ENUM) MMK_COUNT_MAX };
#undef MMK_VM_COUNTER_ENUM

/*
 * Where anons go when their frames are wanted. The two words are the pager's
 * own: mmkit stores them and passes them back, and never looks at them. `in`
 * and `out` are called with no lock held and may wait.
 */
struct mmk_backing {
	/* Write the page; set both words. errors IO, NOSPACE: words untouched. */
	enum mmk_err (*out)(void *ctx, struct mmk_frame *frame,
	    uint64_t words[2]);
	/* Read the page that `words` names into `frame`. errors IO. */
	enum mmk_err (*in)(void *ctx, const uint64_t words[2],
	    struct mmk_frame *frame);
	/* The words name nothing any more. vm->lock may be held: must not wait,
	 * nor call mmkit. */
	void (*free)(void *ctx, const uint64_t words[2]);
	void *ctx;
};

/* Guards: [I] immutable after init  [V] this->lock  [a] atomic */
struct mmk_vm {
	struct mmk_phys *phys;             /* [I] */
	struct mmk_pmap_sys *pmap_sys;     /* [I] */
	const struct mmk_backing *backing; /* [I] NULL: anons stay resident */
	struct mmk_frame *zero_frame;      /* [I] one page of zeros */
	struct mmk_mover mover;            /* [I] of anons' frames: vm/move.h */
	struct mmk_btree_memory map_nodes; /* [I] nodes of maps, from node_pool */
	struct mmk_pool node_pool;         /* btree nodes */
	struct mmk_pool slots_pool;        /* nodes of amaps */
	struct mmk_pool anon_pool;
	struct mmk_pool amap_pool;
	struct mmk_pool object_pool;
	struct mmk_pool entry_pool;
	struct mmk_pool submap_pool;
	MMKIT_MUTEX_T submap_mutex;        /* of all sub-maps: vm/submap.h */
	MMKIT_LOCK_T lock;
	struct mmk_object *zero_object;    /* [V] what private memory shows, or NULL */
	struct mmk_list maps;              /* [V] every map */
	struct mmk_list objects;           /* [V] every object */
	uint64_t counters[MMK_COUNT_MAX];  /* [a] */
};

/* A constant text for the counter, for people to read. */
MMK_API const char *mmk_vm_counter_name(enum mmk_vm_counter counter);

static inline void
mmk_vm_count(struct mmk_vm *vm, enum mmk_vm_counter counter)
{
	(void)MMKIT_ATOMIC_ADD(&vm->counters[counter], (uint64_t)1);
}

MMK_END_DECLS
#endif /* MMKIT_VM_VM_H */

#if defined(MMKIT_IMPLEMENTATION) && !defined(MMKIT_VM_VM_IMPL)
#define MMKIT_VM_VM_IMPL

MMK_API const char *
mmk_vm_counter_name(enum mmk_vm_counter counter)
{
#define MMK_VM_COUNTER_TEXT(name, text) \
	case MMK_COUNT_##name:          \
		return text;
	switch (counter) {
		MMK_VM_COUNTER_LIST(MMK_VM_COUNTER_TEXT)
	case MMK_COUNT_MAX:
		break;
	}
#undef MMK_VM_COUNTER_TEXT
	return "unknown counter";
}
#endif /* MMKIT_IMPLEMENTATION */
