/* SPDX-License-Identifier: MIT
 *
 * mmkit/phys/census.h: how much is free, how much is not, and is that true?
 *
 * WHAT    Numbers for people: pages by use, free blocks by order, of how much
 *         use they are to a large request, a picture of RAM. And the audit:
 *         every descriptor is looked at, and what is found is compared with
 *         what the zones and the CPUs count.
 * LAYER   phys. Includes frame.h. Changes nothing.
 * LOCKS   the zones', each for a moment; the audit takes none: nobody else may
 *         be in here
 * COST    stats: O(CPUs + orders). regions: O(RAM / 64 pages). audit: O(pages)
 * SOURCE  own
 */
#ifndef MMKIT_PHYS_CENSUS_H
#define MMKIT_PHYS_CENSUS_H

#include "frame.h"

MMK_BEGIN_DECLS

struct mmk_phys_stats {
	uint64_t nr_pages;        /* of RAM: free, cached, used and metadata */
	uint64_t nr_free_pages;   /* cached ones included */
	uint64_t nr_cached_pages; /* near the CPUs */
	uint64_t peak_used_pages; /* exact on one CPU; on several it may miss
	                           * what happened between two batches */
	uint64_t nr_used_pages[MMK_USE_MAX];
	uint64_t nr_free_blocks[MMK_NR_ORDERS]; /* by order, all zones */
	/* Of the free pages in the zones, how many in a thousand are of no use
	 * for a request of this order: they lie in smaller blocks. */
	uint32_t unusable_permille[MMK_NR_ORDERS];
	uint64_t meta_bytes; /* of descriptors and tables, unrounded */
};

/* A snapshot; while others allocate its numbers may be of different moments. */
MMK_API void mmk_phys_stats_read(struct mmk_phys *phys,
    struct mmk_phys_stats *out);

struct mmk_node_stats {
	uint64_t nr_pages;        /* of RAM, metadata apart */
	uint64_t nr_free_pages;   /* cached ones included */
	uint64_t nr_cached_pages; /* near CPUs, which need not be of this node */
};

/* Of one node: likewise. pre: node < MMKIT_NODE_MAX. */
MMK_API void mmk_phys_node_stats_read(struct mmk_phys *phys, unsigned node,
    struct mmk_node_stats *out);

/* One piece of the descriptors' range, for a picture. */
struct mmk_phys_region {
	mmk_pa start_pa;        /* of its first page */
	uint64_t nr_pages;      /* descriptors, those of holes included */
	uint64_t nr_free_pages; /* those that the CPUs keep count as in use */
};

/*
 * Cut RAM into nr_regions pieces of about one size, of 64 pages at least: the
 * last ones are empty if there are not as many. cost: O(RAM / 64 pages); a
 * zone's lock is held for 64 pages at a time: others may allocate meanwhile.
 */
MMK_API void mmk_phys_regions_read(struct mmk_phys *phys, size_t nr_regions,
    struct mmk_phys_region *regions_out);

/* Walks every descriptor and list. pre: nobody else is in here. O(pages). */
MMK_API bool mmk_phys_check(struct mmk_phys *phys);

MMK_END_DECLS
#endif /* MMKIT_PHYS_CENSUS_H */

#if defined(MMKIT_IMPLEMENTATION) && !defined(MMKIT_PHYS_CENSUS_IMPL)
#define MMKIT_PHYS_CENSUS_IMPL

/* ---- numbers ------------------------------------------------------------- */

MMK_PRIVATE void
mmk__stats_fragmentation(struct mmk_phys_stats *out)
{
	uint64_t nr_pages = 0, nr_smaller = 0;

	for (unsigned order = 0; order <= MMK_MAX_ORDER; order++)
		nr_pages += out->nr_free_blocks[order] << order;
	for (unsigned order = 0; nr_pages > 0 && order <= MMK_MAX_ORDER;
	     order++) {
		out->unusable_permille[order] =
		    (uint32_t)(nr_smaller * 1000 / nr_pages);
		nr_smaller += out->nr_free_blocks[order] << order;
	}
}

MMK_API void
mmk_phys_stats_read(struct mmk_phys *phys, struct mmk_phys_stats *out)
{
	(void)MMKIT_MEMSET(out, 0, sizeof(*out));
	out->nr_pages = phys->nr_pages;
	out->meta_bytes = phys->meta_bytes;
	out->peak_used_pages = mmk_store_peak(&phys->store);
	for (unsigned i = 0; i < MMKIT_CPU_MAX; i++) {
		const struct mmk_store_cpu *cpu = &phys->store.cpus[i];

		for (unsigned use = 0; use < MMK_USE_MAX; use++)
			out->nr_used_pages[use] +=
			    MMKIT_ATOMIC_LOAD(&cpu->used[use]);
	}
	for (unsigned z = 0; z < MMK_NR_ZONES; z++) {
		struct mmk_buddy *zone = &phys->store.zones[z];

		out->nr_free_pages += MMKIT_ATOMIC_LOAD(&zone->nr_free_pages);
		mmk_buddy_count(zone, out->nr_free_blocks);
	}
	mmk__stats_fragmentation(out);
	out->nr_cached_pages = mmk_store_nr_cached(&phys->store);
	out->nr_free_pages += out->nr_cached_pages;
}

MMK_API void
mmk_phys_node_stats_read(struct mmk_phys *phys, unsigned node,
    struct mmk_node_stats *out)
{
	const struct mmk_store *store = &phys->store;

	MMK_ASSERT(node < MMKIT_NODE_MAX);
	(void)MMKIT_MEMSET(out, 0, sizeof(*out));
	out->nr_pages = mmk_store_node_pages(store, node);
	for (unsigned i = 0; i < MMKIT_CPU_COUNT(); i++)
		if (mmk__cpu_home(store, &store->cpus[i]) / MMK_ZONE_MAX == node)
			out->nr_cached_pages +=
			    mmk__cpu_nr_cached(&store->cpus[i]);
	for (unsigned z = 0; z < MMK_ZONE_MAX; z++)
		out->nr_free_pages += MMKIT_ATOMIC_LOAD(
		    &store->zones[node * MMK_ZONE_MAX + z].nr_free_pages);
	out->nr_free_pages += out->nr_cached_pages;
}

/* The free pages of a granule; a larger block's head tells of those after it. */
MMK_PRIVATE unsigned
mmk__granule_nr_free(const struct mmk_granule *granule, uint64_t *block_left)
{
	unsigned nr_pages = 0;

	if (MMKIT_ATOMIC_LOAD(&granule->is_awake) == 0)
		return (unsigned)MMK_GRANULE_PAGES;
	if (granule->list != MMK_GRANULE_UNLISTED &&
	    granule->list >= MMK_GRANULE_ORDER)
		*block_left = (uint64_t)1
		    << (granule->list - MMK_GRANULE_ORDER);
	if (*block_left > 0) {
		--*block_left;
		return (unsigned)MMK_GRANULE_PAGES;
	}
	for (uint64_t word = granule->free; word != 0; word &= word - 1)
		nr_pages++;
	return nr_pages;
}

MMK_API void
mmk_phys_regions_read(struct mmk_phys *phys, size_t nr_regions,
    struct mmk_phys_region *regions_out)
{
	const struct mmk_frame_table *table = &phys->table;
	uint32_t nr_granules = table->nr_frames >> MMK_GRANULE_ORDER, index = 0;
	uint64_t block_left = 0;

	for (size_t r = 0; r < nr_regions; r++) {
		struct mmk_phys_region *region = &regions_out[r];
		uint32_t end = (uint32_t)((uint64_t)nr_granules * (r + 1) /
		    nr_regions);

		(void)MMKIT_MEMSET(region, 0, sizeof(*region));
		if (index < end)
			region->start_pa = mmk_pa_of_pfn(
			    mmk_frame_table_pfn(table,
			        &table->frames[index << MMK_GRANULE_ORDER]));
		for (; index < end; index++) {
			struct mmk_buddy *zone = mmk_store_buddy_of(
			    &phys->store, mmk_frame_table_pfn(table,
			        &table->frames[index << MMK_GRANULE_ORDER]));

			MMKIT_LOCK(&zone->lock);
			region->nr_free_pages += mmk__granule_nr_free(
			    &table->granules[index], &block_left);
			MMKIT_UNLOCK(&zone->lock);
			region->nr_pages += MMK_GRANULE_PAGES;
		}
	}
}

/* ---- the audit ----------------------------------------------------------- */

/* What a walk over all descriptors finds. */
struct mmk__phys_census {
	uint64_t nr_pages;
	uint64_t nr_free_pages; /* cached ones included */
	uint64_t used[MMK_USE_MAX];
};

/* The state of the block at `frame` is possible; it is added to the census. */
MMK_PRIVATE bool
mmk__census_add(const struct mmk_frame *frame, struct mmk__phys_census *census)
{
	if (mmk_frame_is_held(frame)) {
		if (frame->use == MMK_USE_FREE || frame->use >= MMK_USE_MAX)
			return false;
		census->nr_pages += mmk_frame_nr_pages(frame);
		census->used[frame->use] += mmk_frame_nr_pages(frame);
		return frame->refs > 0 ||
		    (frame->flags & MMK_FRAME_RETAINED) != 0;
	}
	if (frame->flags != 0)
		return frame->flags == MMK_FRAME_HOLE;
	census->nr_pages++;
	census->nr_free_pages++;
	return frame->mapped == 0 && frame->pins == 0 && frame->loans == 0;
}

/* The block at pfn; *pfn moves past it, or by one. */
MMK_PRIVATE bool
mmk__census_block(const struct mmk_phys *phys, mmk_pfn *pfn,
    struct mmk__phys_census *census)
{
	const struct mmk_frame_table *table = &phys->table;
	const struct mmk_frame *frame = mmk_frame_table_lookup(table, *pfn);
	mmk_pfn end_pfn = *pfn + 1;

	if (frame == NULL || mmk_frame_table_pfn(table, frame) != *pfn ||
	    !mmk__census_add(frame, census))
		return false;
	if (mmk_frame_is_held(frame)) {
		if (frame->order > MMK_MAX_ORDER ||
		    (*pfn & (mmk_frame_nr_pages(frame) - 1)) != 0)
			return false;
		end_pfn = *pfn + mmk_frame_nr_pages(frame);
	}
	for (++*pfn; *pfn < end_pfn; ++*pfn) {
		frame = mmk_frame_table_lookup(table, *pfn);
		if (frame == NULL || frame->flags != 0)
			return false;
	}
	return true;
}

/* Every block once, in order of address. */
MMK_PRIVATE bool
mmk__phys_census(const struct mmk_phys *phys, struct mmk__phys_census *census)
{
	const struct mmk_frame_table *table = &phys->table;
	mmk_pfn pfn = 0;

	for (uint64_t i = 0; i < table->nr_sections; i++) {
		const struct mmk_section *section = &table->sections[i];
		mmk_pfn start = (table->first_section + i) << MMK_SECTION_ORDER;
		mmk_pfn first = start +
		    ((uint64_t)section->first_granule << MMK_GRANULE_ORDER);
		mmk_pfn end = start +
		    ((uint64_t)(section->end_granule & ~MMK_SECTION_LAZY) <<
		        MMK_GRANULE_ORDER);

		if (mmk_frame_table_is_asleep(table, i)) {
			census->nr_pages += MMK_SECTION_PAGES;
			census->nr_free_pages += MMK_SECTION_PAGES;
			pfn = end;
		}
		if (pfn < first)
			pfn = first;
		while (pfn < end)
			if (!mmk__census_block(phys, &pfn, census))
				return false;
	}
	return true;
}

/* What the CPUs keep is free: nobody has it, and it is of the home zone. */
MMK_PRIVATE bool
mmk__phys_check_array(const struct mmk_store *store,
    const struct mmk_store_cpu *cpu, unsigned i)
{
	const struct mmk_frame_table *table = store->table;
	const struct mmk_store_array *array = &cpu->arrays[i];

	if (array->next < array->first ||
	    array->next > array->first + array->max)
		return false;
	for (const uint32_t *slot = array->first; slot < array->next; slot++) {
		uint32_t page = *slot;
		uint64_t bit = (uint64_t)1 << (page & (MMK_GRANULE_PAGES - 1));

		if (page >= table->nr_frames ||
		    !mmk__cpu_may_keep(store, cpu, page) ||
		    (page & (((uint32_t)1 << i) - 1) &
		        (MMK_GRANULE_PAGES - 1)) != 0)
			return false;
		if ((table->frames[page].flags & MMK_FRAME_HOLE) != 0 ||
		    (table->granules[page >> MMK_GRANULE_ORDER].free & bit) !=
		        0)
			return false;
	}
	return true;
}

MMK_PRIVATE bool
mmk__phys_check_caches(const struct mmk_store *store)
{
	for (unsigned i = 0; i < MMKIT_CPU_MAX; i++) {
		const struct mmk_store_cpu *cpu = &store->cpus[i];

		for (unsigned k = 0; k < MMK_NR_ORDERS; k++)
			if (!mmk__phys_check_array(store, cpu, k))
				return false;
	}
	return true;
}

/* What the store thinks is what the census found. */
MMK_PRIVATE bool
mmk__census_agrees(const struct mmk_store *store,
    const struct mmk__phys_census *census)
{
	uint64_t nr_free_pages = 0;

	for (unsigned z = 0; z < MMK_NR_ZONES; z++) {
		if (!mmk_buddy_check(&store->zones[z]))
			return false;
		nr_free_pages += store->zones[z].nr_free_pages;
	}
	nr_free_pages += mmk_store_nr_cached(store);
	if (nr_free_pages != census->nr_free_pages)
		return false;
	for (unsigned use = 0; use < MMK_USE_MAX; use++) {
		uint64_t nr_pages = 0;

		for (unsigned i = 0; i < MMKIT_CPU_MAX; i++)
			nr_pages += store->cpus[i].used[use];
		if (nr_pages != census->used[use])
			return false;
	}
	return true;
}

MMK_API bool
mmk_phys_check(struct mmk_phys *phys)
{
	struct mmk__phys_census census;

	(void)MMKIT_MEMSET(&census, 0, sizeof(census));
	if (!mmk__phys_census(phys, &census))
		return false;
	if (census.nr_pages != phys->nr_pages)
		return false;
	return mmk__phys_check_caches(&phys->store) &&
	    mmk__census_agrees(&phys->store, &census);
}
#endif /* MMKIT_IMPLEMENTATION */
