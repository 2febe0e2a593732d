/* SPDX-License-Identifier: MIT
 *
 * mmkit/base/bitmap.h: a set of small integers, one bit each
 *
 * WHAT    Bits 0..nbits-1 in words the caller owns. 1 is "taken", 0 is "free".
 * LAYER   base. Includes port.h. Knows no frames and no locks.
 * LOCKS   none taken; one writer at a time, readers only while no one writes
 * COST    take, free: O(nbits of the run). find_run: O(nbits), full words
 *         skipped whole. One bit each; no memory allocated.
 * SOURCE  First fit: Knuth, TAOCP vol. 1 (3rd ed.), section 2.5.
 */
#ifndef MMKIT_BASE_BITMAP_H
#define MMKIT_BASE_BITMAP_H

#include "port.h"

MMK_BEGIN_DECLS

#define MMK_BITMAP_WORDS(nbits) (((size_t)(nbits) + 63) / 64)

/* Guards: [I] immutable after init, [C] caller serializes. */
struct mmk_bitmap {
	uint64_t *words; /* [I] MMK_BITMAP_WORDS(nbits) of them; contents [C] */
	size_t nbits;    /* [I] 1..SIZE_MAX/2 */
};

/*
 * Make `bm` an empty set over `words`, which must outlive it. pre: nbits is
 * 1..SIZE_MAX/2.
 */
MMK_API void mmk_bitmap_init(struct mmk_bitmap *bm, uint64_t *words,
    size_t nbits);

/* Take or free every bit of [first, first + nbits). pre: each one changes. */
MMK_API void mmk_bitmap_take(struct mmk_bitmap *bm, size_t first, size_t nbits);
MMK_API void mmk_bitmap_free(struct mmk_bitmap *bm, size_t first, size_t nbits);

/*
 * mmk_bitmap_find_run: find the lowest free run, without taking it.
 *
 * pre      nbits > 0; align_bits is a power of two, at most SIZE_MAX / 2.
 * out      *first_out, a multiple of align_bits; untouched on error.
 * errors   MMK_ERR_NOSPACE: no free run of that size and alignment.
 */
MMK_API MMK_NODISCARD enum mmk_err mmk_bitmap_find_run(
    const struct mmk_bitmap *bm, size_t nbits, size_t align_bits,
    size_t *first_out);

static inline bool
mmk_bitmap_test(const struct mmk_bitmap *bm, size_t bit)
{
	MMK_ASSERT(bit < bm->nbits);
	return (bm->words[bit / 64] >> (bit % 64) & 1) != 0;
}

MMK_END_DECLS
#endif /* MMKIT_BASE_BITMAP_H */

#if defined(MMKIT_IMPLEMENTATION) && !defined(MMKIT_BASE_BITMAP_IMPL)
#define MMKIT_BASE_BITMAP_IMPL

MMK_API void
mmk_bitmap_init(struct mmk_bitmap *bm, uint64_t *words, size_t nbits)
{
	MMK_ASSERT(nbits > 0);
	MMK_ASSERT(nbits <= SIZE_MAX / 2);
	bm->words = words;
	bm->nbits = nbits;
	for (size_t i = 0; i < MMK_BITMAP_WORDS(nbits); i++)
		words[i] = 0;
}

MMK_PRIVATE void
mmk__bitmap_flip(struct mmk_bitmap *bm, size_t first, size_t nbits, bool taken)
{
	MMK_ASSERT(first <= bm->nbits);
	MMK_ASSERT(nbits <= bm->nbits - first);
	for (size_t bit = first; bit < first + nbits; bit++) {
		MMK_ASSERT(mmk_bitmap_test(bm, bit) == taken);
		bm->words[bit / 64] ^= (uint64_t)1 << (bit % 64);
	}
}

MMK_API void
mmk_bitmap_take(struct mmk_bitmap *bm, size_t first, size_t nbits)
{
	mmk__bitmap_flip(bm, first, nbits, false);
}

MMK_API void
mmk_bitmap_free(struct mmk_bitmap *bm, size_t first, size_t nbits)
{
	mmk__bitmap_flip(bm, first, nbits, true);
}

MMK_API enum mmk_err
mmk_bitmap_find_run(const struct mmk_bitmap *bm, size_t nbits,
    size_t align_bits, size_t *first_out)
{
	MMK_ASSERT(nbits > 0);
	MMK_ASSERT(mmk_is_pow2(align_bits));
	MMK_ASSERT(align_bits <= SIZE_MAX / 2);
	size_t first = 0, bit = 0; /* [first, bit) is free; first is aligned */
	while (first < bm->nbits && nbits <= bm->nbits - first) {
		if (bit - first == nbits) {
			*first_out = first;
			return MMK_OK;
		}
		if (!mmk_bitmap_test(bm, bit)) {
			bit++;
			continue;
		}
		if (bm->words[bit / 64] == UINT64_MAX)
			bit |= 63; /* the whole word is taken */
		first = (bit + align_bits) & ~(align_bits - 1);
		bit = first;
	}
	return MMK_ERR_NOSPACE;
}
#endif /* MMKIT_IMPLEMENTATION */
