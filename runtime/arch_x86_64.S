// long start_task(flags, stack_top, function, argument, child_tid, thread_pointer): clone(2) onto a new stack.
// The child never returns into its parent's frames: it calls function(argument) and makes exit(2) with its result.
        .text
        .globl  castaway_start_task
        .hidden castaway_start_task
        .type   castaway_start_task, @function
castaway_start_task:
        .cfi_startproc
        // rdi flags, rsi stack_top, rdx function, rcx argument, r8 child_tid, r9 thread_pointer
        andq    $-16, %rsi
        subq    $16, %rsi
        movq    %rdx, 8(%rsi)
        movq    %rcx, 0(%rsi)
        movq    %r8, %r10               // clone: rdi flags, rsi stack, rdx parent_tid, r10 child_tid, r8 tls
        movq    %r8, %rdx
        movq    %r9, %r8
        movl    $56, %eax
        syscall
        testq   %rax, %rax
        jz      1f
        ret
1:      .cfi_undefined rip              // the outermost frame of the child
        xorl    %ebp, %ebp
        popq    %rdi
        popq    %rax
        call    *%rax
        movl    %eax, %edi
        movl    $60, %eax
        syscall
        hlt
        .cfi_endproc
        .size   castaway_start_task, .-castaway_start_task

// Where a signal handler returns to: rt_sigreturn(2).
        .globl  castaway_signal_return
        .hidden castaway_signal_return
        .type   castaway_signal_return, @function
castaway_signal_return:
        movl    $15, %eax
        syscall
        hlt
        .size   castaway_signal_return, .-castaway_signal_return
        .section .note.GNU-stack,"",@progbits
