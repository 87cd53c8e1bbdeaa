/* What the machine allows: starts children at given instants as fast as C can, and records nothing.
 *
 *     limit STAMP FILE < PLAN
 *
 * PLAN has one line for each burst: the instant in nanoseconds since 1970, the number of the first job, and how many.
 * Each child gets two pipes, as a child whose output is kept would. Ends when all have been reaped.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { MOST = 4194304 }; /* above every pid */
static int pipes[MOST][2];
static long alive;

static void reap(int options)
{
    pid_t pid;
    while (alive && (pid = waitpid(-1, NULL, options)) > 0) {
        char rest[4096];
        for (int i = 0; i < 2; i++) {
            while (read(pipes[pid][i], rest, sizeof rest) > 0)
                ;
            close(pipes[pid][i]);
        }
        alive--;
    }
}

static void start(char *stamp, char *file, long job)
{
    int out[2], err[2];
    char id[24];
    snprintf(id, sizeof id, "%ld", job);
    char *const words[] = {stamp, file, id, NULL};
    while (pipe2(out, O_CLOEXEC) < 0)
        reap(0); /* no descriptor is left: wait for a child */
    while (pipe2(err, O_CLOEXEC) < 0)
        reap(0);
    pid_t pid = vfork();
    if (pid == 0) {
        dup2(out[1], 1);
        dup2(err[1], 2);
        execv(stamp, words);
        _exit(127);
    }
    if (pid < 0)
        exit(1);
    close(out[1]);
    close(err[1]);
    pipes[pid][0] = out[0];
    pipes[pid][1] = err[0];
    alive++;
}

int main(int count, char **words)
{
    long long instant;
    long first, jobs;
    if (count != 3)
        return 2;
    while (scanf("%lld %ld %ld", &instant, &first, &jobs) == 3) {
        struct timespec until = {instant / 1000000000, instant % 1000000000};
        clock_nanosleep(CLOCK_REALTIME, TIMER_ABSTIME, &until, NULL);
        for (long job = first; job < first + jobs; job++) {
            start(words[1], words[2], job);
            if (alive % 16 == 0)
                reap(WNOHANG);
        }
        reap(0);
    }
    return 0;
}
