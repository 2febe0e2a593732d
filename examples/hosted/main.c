/* SPDX-License-Identifier: MIT
 *
 * examples/hosted/main.c: mmkit-run
 */
#include "hosted.h"

#include <errno.h>
#include <stdarg.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

struct machine machine;

static const char usage[] =
    "usage: mmkit-run [OPTION]... PROGRAM [ARGUMENT]...\n"
    "Run a Linux program, and all that it starts, on memory that mmkit manages.\n"
    "\n"
    "  --ram SIZE    how much memory there is: 8M, 1G, ... (64M)\n"
    "  --mmu KIND    page tables as of x86_64 or aarch64 (x86_64)\n"
    "  --cpus N      simulated CPUs that address spaces are spread over (1);\n"
    "                with one, programs run on one CPU of the host\n"
    "  --stats       say at the end what happened to memory\n"
    "  --maps        show the address space when the program ends; SIGUSR1 at\n"
    "                any time\n"
    "  --frames FILE write the state of every frame, for mmkit-view frames, when\n"
    "                the program ends and at SIGUSR1; -: to standard output\n"
    "  --every N     and every N seconds\n"
    "  --check       check every structure of mmkit at every stop: slow\n"
    "  --version, --help\n"
    "\n"
    "The exit status is the program's; a program killed by a signal kills\n"
    "mmkit-run by the same one. 125: mmkit-run failed or memory leaked, 126: the\n"
    "program cannot be run, 127: it is not there.\n";

void
say(const char *format, ...)
{
	va_list args;
	char text[4096];

	va_start(args, format);
	vsnprintf(text, sizeof text, format, args);
	va_end(args);
	fprintf(stderr, "mmkit-run: %s\n", text);
}

void
die(int status, const char *format, ...)
{
	va_list args;
	char text[4096];

	va_start(args, format);
	vsnprintf(text, sizeof text, format, args);
	va_end(args);
	fprintf(stderr, "mmkit-run: %s\n", text);
	_exit(status); /* EXITKILL takes the programs along */
}

uint64_t
now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

void *
xcalloc(size_t nr, size_t bytes)
{
	void *ptr = calloc(nr, bytes);

	if (ptr == NULL)
		die(STATUS_BROKEN, "no memory");
	return ptr;
}

/* ---- options ------------------------------------------------------------- */

static uint64_t
parse_size(const char *text)
{
	char *end;
	unsigned long long value;

	errno = 0;
	value = strtoull(text, &end, 10);
	if (end == text || errno != 0 || text[0] == '-')
		die(STATUS_BROKEN, "--ram %s: not a size", text);
	if (*end == 'K' || *end == 'k')
		value <<= 10, end++;
	else if (*end == 'M' || *end == 'm')
		value <<= 20, end++;
	else if (*end == 'G' || *end == 'g')
		value <<= 30, end++;
	if (*end != '\0' || value >> 37 != 0)
		die(STATUS_BROKEN, "--ram %s: not a size", text);
	value &= ~MMK_PAGE_MASK;
	if (value < (uint64_t)1 << 20)
		die(STATUS_BROKEN, "--ram %s: at least 1M is needed", text);
	return value;
}

static void
parse_mmu(const char *text)
{
	if (strcmp(text, "x86_64") == 0)
		machine.options.arch = SIM_ARCH_X86_64;
	else if (strcmp(text, "aarch64") == 0)
		machine.options.arch = SIM_ARCH_AARCH64;
	else
		die(STATUS_BROKEN, "--mmu %s: x86_64 and aarch64 are known",
		    text);
}

static void
parse_cpus(const char *text)
{
	char *end;
	long value = strtol(text, &end, 10);

	if (*text == '\0' || *end != '\0' || value < 1 ||
	    value > (long)SIM_CPU_MAX)
		die(STATUS_BROKEN, "--cpus %s: 1 to %u", text, SIM_CPU_MAX);
	machine.options.nr_cpus = (unsigned)value;
}

static void
parse_every(const char *text)
{
	char *end;
	long value = strtol(text, &end, 10);

	if (*text == '\0' || *end != '\0' || value < 1 || value > 86400)
		die(STATUS_BROKEN, "--every %s: 1 to 86400 seconds", text);
	machine.options.every_seconds = (unsigned)value;
}

static void
parse_option(const char *name, const char *value)
{
	if (strcmp(name, "--stats") == 0)
		machine.options.stats = true;
	else if (strcmp(name, "--maps") == 0)
		machine.options.maps = true;
	else if (strcmp(name, "--check") == 0)
		machine.options.check = true;
	else if (strcmp(name, "--ram") == 0)
		machine.options.ram_bytes = parse_size(value);
	else if (strcmp(name, "--mmu") == 0)
		parse_mmu(value);
	else if (strcmp(name, "--cpus") == 0)
		parse_cpus(value);
	else if (strcmp(name, "--frames") == 0)
		machine.options.frames_path = value;
	else if (strcmp(name, "--every") == 0)
		parse_every(value);
	else
		die(STATUS_BROKEN, "%s: unknown option; try --help", name);
}

static bool
takes_value(const char *name)
{
	static const char *const names[] = { "--ram", "--mmu", "--cpus",
		"--frames", "--every" };

	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
		if (strcmp(name, names[i]) == 0)
			return true;
	return false;
}

/* The program and its arguments. */
static char **
parse_options(char **argv)
{
	machine.options = (struct options){ .ram_bytes = (uint64_t)64 << 20,
		.arch = SIM_ARCH_X86_64, .nr_cpus = 1 };
	for (; *argv != NULL && (*argv)[0] == '-'; argv++) {
		char *equals = strchr(*argv, '=');

		if (strcmp(*argv, "--") == 0) {
			argv++;
			break;
		}
		if (strcmp(*argv, "--help") == 0) {
			fputs(usage, stdout);
			exit(0);
		}
		if (strcmp(*argv, "--version") == 0) {
			printf("mmkit-run %d.%d.%d\n", MMK_VERSION_MAJOR,
			    MMK_VERSION_MINOR, MMK_VERSION_PATCH);
			exit(0);
		}
		if (equals != NULL) {
			*equals = '\0';
			if (!takes_value(*argv))
				die(STATUS_BROKEN, "%s: unknown option; try "
				    "--help", *argv);
			parse_option(*argv, equals + 1);
		} else if (takes_value(*argv)) {
			if (argv[1] == NULL)
				die(STATUS_BROKEN, "%s: a value is missing",
				    *argv);
			parse_option(argv[0], argv[1]);
			argv++;
		} else {
			parse_option(*argv, NULL);
		}
	}
	if (*argv == NULL)
		die(STATUS_BROKEN, "no program is named; try --help");
	return argv;
}

/* ---- the machine --------------------------------------------------------- */

static void
boot(void)
{
	struct sim_config config = {
		.ram_bytes = machine.options.ram_bytes,
		.nr_cpus = machine.options.nr_cpus,
		.arch = machine.options.arch,
		.ram_fd = machine.ram_fd,
	};
	struct mmk_phys_config phys = { 0 };
	enum mmk_err err;

	sim_boot(&config);
	sim_violations_record(true);
	sim_on_invalidate(tlb_on_invalidate, NULL);
	phys.spans = sim_spans(&phys.nr_spans);
	err = mmk_phys_init(&machine.phys, &phys);
	if (err == MMK_OK) {
		mmk_phys_stats_read(&machine.phys, &machine.at_boot);
		err = mmk_pmap_sys_init(&machine.pmap_sys, &machine.phys,
		    sim_shape());
	}
	if (err == MMK_OK)
		err = mmk_vm_init(&machine.vm, &machine.phys,
		    &machine.pmap_sys, NULL);
	if (err != MMK_OK)
		die(STATUS_BROKEN, "the machine does not start: %s",
		    mmk_err_name(err));
}

static void
forward(int sig)
{
	kill(machine.first_pid, sig);
}

/* SIGUSR1, and SIGALRM every so often. */
static void
want_report(int sig)
{
	if (sig == SIGUSR1)
		machine.wants_maps = 1;
	machine.wants_frames = 1;
}

/* The terminal's signals reach the programs themselves; we outlive them. */
static void
set_signals(void)
{
	struct sigaction action = { .sa_handler = forward };
	struct itimerval timer = { { 0, 0 }, { 0, 0 } };

	signal(SIGINT, SIG_IGN);
	signal(SIGQUIT, SIG_IGN);
	signal(SIGPIPE, SIG_IGN);
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGHUP, &action, NULL);
	action.sa_handler = want_report;
	sigaction(SIGUSR1, &action, NULL);
	sigaction(SIGALRM, &action, NULL);
	timer.it_interval.tv_sec = machine.options.every_seconds;
	timer.it_value = timer.it_interval;
	(void)setitimer(ITIMER_REAL, &timer, NULL);
}

/* End as the program ended. */
static int
end_alike(int status)
{
	struct rlimit none = { 0, 0 };
	sigset_t set;
	int sig;

	if (WIFEXITED(status))
		return WEXITSTATUS(status);
	sig = WTERMSIG(status);
	setrlimit(RLIMIT_CORE, &none);
	signal(sig, SIG_DFL);
	sigemptyset(&set);
	sigaddset(&set, sig);
	sigprocmask(SIG_UNBLOCK, &set, NULL);
	fflush(NULL);
	raise(sig);
	return 128 + sig;
}

/*
 * A machine of one CPU runs on one of the host's. A stop is then a switch from
 * one process to the other; with two, it is the waking of a CPU that has gone to
 * sleep, which takes many times as long. Programs that ask see one CPU.
 */
static void
stay_on_one_cpu(void)
{
	int cpu = sched_getcpu();
	cpu_set_t set;

	if (machine.options.nr_cpus > 1 || cpu < 0)
		return;
	CPU_ZERO(&set);
	CPU_SET((unsigned)cpu, &set);
	/* where it is not permitted, it is only slower */
	(void)sched_setaffinity(0, sizeof set, &set);
}

int
main(int argc, char **argv)
{
	uint64_t start_ns = now_ns();
	bool is_clean;

	(void)argc;
	argv = parse_options(argv + 1);
	calls_init();
	stay_on_one_cpu();
	launch(argv);
	report_frames_open();
	set_signals();
	/* programs wait for us at every stop; not permitted is as well */
	(void)setpriority(PRIO_PROCESS, 0, -10);
	boot();
	gate_init();
	process_loop();
	file_drop_all();
	machine.counts.tracer_ns =
	    now_ns() - start_ns - machine.counts.wait_ns;
	if (machine.options.stats)
		report_stats();
	is_clean = report_audit();
	if (!is_clean)
		return STATUS_BROKEN;
	if (!machine.has_first_status)
		die(STATUS_BROKEN, "the program was lost");
	return end_alike(machine.first_status);
}
