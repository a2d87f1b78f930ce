// long start_task(flags, stack_top, function, argument, child_tid, thread_pointer): clone(2) onto a new stack.
// The child never returns into its parent's frames: it calls function(argument) and makes exit(2) with its result.
        .text
        .globl  castaway_start_task
        .hidden castaway_start_task
        .type   castaway_start_task, %function
castaway_start_task:
        .cfi_startproc
        hint    #34                     // bti c
        // x0 flags, x1 stack_top, x2 function, x3 argument, x4 child_tid, x5 thread_pointer
        and     x1, x1, #-16
        stp     x2, x3, [x1, #-16]!
        mov     x2, x4                  // clone: x0 flags, x1 stack, x2 parent_tid, x3 tls, x4 child_tid
        mov     x3, x5
        mov     x8, #220
        svc     #0
        cbz     x0, 1f
        ret
1:      .cfi_undefined x30              // the outermost frame of the child
        mov     x29, xzr
        mov     x30, xzr
        ldp     x1, x0, [sp], #16
        blr     x1
        mov     x8, #93
        svc     #0
        brk     #0
        .cfi_endproc
        .size   castaway_start_task, .-castaway_start_task

// Where a signal handler returns to: rt_sigreturn(2).
        .globl  castaway_signal_return
        .hidden castaway_signal_return
        .type   castaway_signal_return, %function
castaway_signal_return:
        hint    #34                     // bti c
        mov     x8, #139
        svc     #0
        brk     #0
        .size   castaway_signal_return, .-castaway_signal_return
        .section .note.GNU-stack,"",%progbits
