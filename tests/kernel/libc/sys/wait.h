/* SPDX-License-Identifier: MIT */
#ifndef KERNEL_LIBC_SYS_WAIT_H
#define KERNEL_LIBC_SYS_WAIT_H

#define waitpid(child, status, flags) ((void)(status), -1)
#define WIFSIGNALED(status) ((status) & 0x7f)
#define WTERMSIG(status) ((status) & 0x7f)
#define WEXITSTATUS(status) ((status) >> 8 & 0xff)

#endif
