/* SPDX-License-Identifier: MIT
 *
 * tests/kernel/left_out.c: tests that are not for this kernel, and why
 */
extern const char *const tests_left_out[];

const char *const tests_left_out[] = {
	/* They ask for entries of both formats; a kernel has one. */
	"pte/a_dirty_bit_set_while_an_entry_is_*",
	"pte/every_set_of_flags_comes_back_*",
	/* It asks for a processor that sets no marks itself. */
	"fault/software_marks_are_exact_about_writes",
	/* It counts the yield points in the simulated machine's locks. */
	"control/uncharges_amid_a_destruction_are_exact",
	/* It asks for RAM at an address of its own. */
	"rules_s4/S4_20_one_descriptor_for_each_page_for_ever",
#ifdef __aarch64__
	/* They want protection keys; QEMU's Arm has none. */
	"pmap/a_key_judges_accesses_*",
	"pmap/another_key_is_seen_at_once",
	"pmap/what_is_there_outlives_a_refusal",
	"super/another_key_for_a_part_splits",
	/* They count shootdowns; here one instruction reaches every CPU. */
	"pmap/another_page_at_the_same_address_is_seen_at_once_by_every_cpu",
	"pmap/only_cpus_that_may_hold_translations_are_asked",
#endif
	/* They take up a kernel's half of their own; this kernel runs in one. */
	"rules_s4/S4_1_a_program_cannot_touch_the_kernels_half",
	"pmap_prop/random_operations_on_both_halves",
	/* They count bytes and steps, or try all flags, long, and find the same
	 * everywhere. */
	"pte/aarch64_flags_never_read_the_bits_of_a_wide_address",
	"btree/insert_allocates_at_most_a_node_per_level_and_a_root",
	"btree/random_build_costs_at_most_34_bytes_a_range",
	0,
};
