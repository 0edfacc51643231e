// Prints the frequency of this machine's time-stamp counter in kHz.
#include <stdio.h>
#include <time.h>
#include <x86intrin.h>

static double seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC_RAW, &now);
	return now.tv_sec + now.tv_nsec * 1e-9;
}

int main(void)
{
	const struct timespec third = { 0, 333000000 };
	const double from = seconds();
	const unsigned long long ticks = __rdtsc();

	nanosleep(&third, NULL);
	printf("%.0f\n", (double)(__rdtsc() - ticks) / (seconds() - from) / 1e3);
	return 0;
}
