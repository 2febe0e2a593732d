/* SPDX-License-Identifier: MIT
 *
 * examples/hosted/decode.c: does the instruction at rip write to memory?
 *
 * WHAT    The host does not tell a read that missed from a write that missed.
 *         Most first touches of memory are writes; taking them for reads costs
 *         a second stop each. This knows the common stores of x86-64. Whatever
 *         it does not know is a read: a wrong guess costs time only.
 * SOURCE  Intel SDM volume 2, appendix A (opcode maps)
 */
#include "hosted.h"

struct insn {
	uint8_t bytes[16];
	unsigned nr, at;
	bool has_66, has_rep;
};

static unsigned
next(struct insn *insn)
{
	return insn->at < insn->nr ? insn->bytes[insn->at++] : 0xf1;
}

/* Is ModRM a memory operand, and which /digit? */
static bool
modrm(struct insn *insn, unsigned *digit_out)
{
	unsigned byte = next(insn);

	*digit_out = byte >> 3 & 7;
	return byte >> 6 != 3;
}

/* Two-byte opcodes, 0F xx. */
static bool
stores_0f(struct insn *insn, unsigned opcode)
{
	unsigned digit;
	bool is_memory = modrm(insn, &digit);

	if (!is_memory)
		return false;
	switch (opcode) {
	case 0x11: case 0x13: case 0x17: case 0x29: case 0x2b:
	case 0x7f: case 0xe7: case 0xd6: case 0xc3: case 0xa3:
	case 0xab: case 0xb3: case 0xbb: case 0xa4: case 0xa5:
	case 0xac: case 0xad: case 0xb0: case 0xb1: case 0xc0: case 0xc1:
		return opcode != 0xa3;
	case 0x7e:
		return !insn->has_rep;
	case 0xba:
		return digit >= 5;
	case 0xc7:
		return digit == 1;
	case 0xae:
		return digit == 0 || digit == 4 || digit == 3;
	default:
		return opcode >= 0x90 && opcode <= 0x9f;
	}
}

static bool
stores_vex(struct insn *insn, bool is_long)
{
	unsigned map = 1, opcode, digit;

	if (is_long)
		map = next(insn) & 31;
	(void)next(insn);
	opcode = next(insn);
	if (!modrm(insn, &digit))
		return false;
	if (map == 1)
		return opcode == 0x11 || opcode == 0x13 || opcode == 0x17 ||
		    opcode == 0x29 || opcode == 0x2b || opcode == 0x7f ||
		    opcode == 0xe7 || opcode == 0xd6;
	return map == 3 && (opcode == 0x39 || opcode == 0x19);
}

static bool
stores_evex(struct insn *insn)
{
	unsigned map = next(insn) & 7, opcode, digit;

	(void)next(insn);
	(void)next(insn);
	opcode = next(insn);
	return modrm(insn, &digit) && map == 1 &&
	    (opcode == 0x11 || opcode == 0x29 || opcode == 0x7f ||
	        opcode == 0xe7);
}

/* One-byte opcodes with a ModRM byte. */
static bool
stores_modrm(struct insn *insn, unsigned opcode)
{
	unsigned digit;
	bool is_memory = modrm(insn, &digit);

	if (!is_memory)
		return false;
	if (opcode < 0x40) /* add, or, adc, sbb, and, sub, xor; not cmp */
		return (opcode & 7) < 2 && opcode < 0x38;
	switch (opcode) {
	case 0x80: case 0x81: case 0x83:
		return digit != 7;
	case 0x86: case 0x87: case 0x88: case 0x89: case 0x8f:
	case 0xc6: case 0xc7: case 0xc0: case 0xc1:
	case 0xd0: case 0xd1: case 0xd2: case 0xd3:
		return true;
	case 0xd9:
		return digit == 2 || digit == 3 || digit == 6 || digit == 7;
	case 0xdd:
		return digit == 2 || digit == 3 || digit == 7;
	case 0xdb:
		return digit == 1 || digit == 2 || digit == 3 || digit == 7;
	case 0xdf:
		return digit == 1 || digit == 2 || digit == 3 || digit >= 6;
	case 0xf6: case 0xf7:
		return digit == 2 || digit == 3;
	case 0xfe: case 0xff:
		return digit < 2;
	default:
		return false;
	}
}

static unsigned
skip_prefixes(struct insn *insn)
{
	unsigned byte = next(insn);

	for (;; byte = next(insn)) {
		if (byte == 0x66)
			insn->has_66 = true;
		else if (byte == 0xf3 || byte == 0xf2)
			insn->has_rep = insn->has_rep || byte == 0xf3;
		else if (byte != 0xf0 && byte != 0x64 && byte != 0x65 &&
		    byte != 0x2e && byte != 0x3e && byte != 0x36 &&
		    byte != 0x26)
			break;
	}
	if (byte >= 0x40 && byte <= 0x4f)
		byte = next(insn);
	return byte;
}

static bool
is_near(mmk_va va, mmk_va end_va)
{
	return end_va - va <= 16 && end_va != va;
}

unsigned
decode_access(struct task *task, mmk_va va)
{
	struct insn insn = { .nr = 16 };
	unsigned opcode;
	bool is_store;

	if (!tlb_has(task->mm, task->regs.rip, MMK_PROT_NONE))
		return MMK_PROT_READ;
	if (!tlb_has(task->mm, task->regs.rip + 15, MMK_PROT_NONE))
		insn.nr = (unsigned)(PAGE_BYTES -
		    (task->regs.rip & MMK_PAGE_MASK));
	if (insn.nr > 16)
		insn.nr = 16;
	if (user_read(task->mm, task->regs.rip, insn.bytes, insn.nr) != MMK_OK)
		return MMK_PROT_READ;
	opcode = skip_prefixes(&insn);
	if (opcode == 0x0f)
		is_store = stores_0f(&insn, next(&insn));
	else if (opcode == 0xc5 || opcode == 0xc4)
		is_store = stores_vex(&insn, opcode == 0xc4);
	else if (opcode == 0x62)
		is_store = stores_evex(&insn);
	else if (opcode >= 0xa4 && opcode <= 0xa5)
		is_store = mmk_page_floor(task->regs.rdi) ==
		    mmk_page_floor(va);
	else if (opcode == 0xaa || opcode == 0xab)
		is_store = true;
	else if ((opcode >= 0x50 && opcode <= 0x57) || opcode == 0x68 ||
	    opcode == 0x6a || opcode == 0xe8 || opcode == 0x9c)
		is_store = true;
	else if (opcode == 0xff && is_near(va, task->regs.rsp))
		is_store = true;
	else
		is_store = stores_modrm(&insn, opcode);
	return is_store ? MMK_PROT_WRITE : MMK_PROT_READ;
}
