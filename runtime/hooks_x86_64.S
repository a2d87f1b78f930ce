// malloc and free for x86-64: the same as the two functions in hooks_malloc.cc, which other processors have.
//
// HOOK context. Written by hand for two things that a compiler does not do, and that a loop of malloc and free notices:
//   - the size is kept over the call by being pushed. A compiler keeps it in a register of the caller's, which it has
//     to save and load: where a loop counts in that register, each round waits for it;
//   - the call ends at the end of a line of the cache. What it returns to is fetched in two lines then, not in three.
// What is expected of the layout of data is asserted in hooks_malloc.cc.
#define HOT _ZN8castaway3hotE
#define SLOW_CALLERS_BEGIN HOT(%rip)
#define SLOW_CALLERS_LENGTH HOT+8(%rip)
#define REAL_MALLOC HOT+16(%rip)
#define REAL_FREE HOT+24(%rip)
#define COSTS HOT+36(%rip)
#define ORIGINS _ZN8castaway8heap_mapE(%rip)
#define UNTIL_SAMPLE _ZN8castaway11this_threadE

        .section .text.hot, "ax", @progbits
        .globl  malloc
        .type   malloc, @function
        .p2align 12                     // a page
.Lline: .skip   24, 0xcc
malloc: .cfi_startproc
        movq    (%rsp), %rax            // is_slow_caller()
        leaq    -17(%rdi), %rcx
        subq    SLOW_CALLERS_BEGIN, %rax
        cmpq    SLOW_CALLERS_LENGTH, %rax
        jb      .Lunusual
        cmpq    $1743, %rcx             // HeapMap::is_medium()
        ja      .Lother
        pushq   %rdi
        .cfi_adjust_cfa_offset 8
        .org    .Lline + 64 - 6, 0x90   // no more than what is there; the call has 6 bytes
.Lcall: call    *REAL_MALLOC
        popq    %rsi
        .cfi_adjust_cfa_offset -8
        testq   %rax, %rax
        jz      .Ldone
        leal    -1(%rsi), %ecx          // sampling::small_class_of()
        leaq    COSTS, %rdx
        shrl    $4, %ecx
        movl    (%rdx,%rcx,4), %edx
        movq    UNTIL_SAMPLE@gottpoff(%rip), %rdi
        subq    %rdx, %fs:(%rdi)
        js      .Lrarely
        movq    %rax, %rdx              // HeapMap::code_of()
        rorq    $4, %rdx
        movq    %rdx, %rdi
        shrq    $22, %rdi
        cmpq    $0x1fffff, %rdi
        ja      .Lrarely
        leaq    ORIGINS, %r8
        movq    (%r8,%rdi,8), %rdi
        testq   %rdi, %rdi
        jz      .Lrarely
        shll    $8, %esi                // HeapMap::small_code()
        andl    $0xf00, %esi
        leal    0x8011(%rcx,%rsi), %esi
        movw    %si, (%rdi,%rdx)
.Ldone: ret
.Lunusual:                              // near, for a short jump
        movq    (%rsp), %rsi
        jmp     _ZN8castaway14malloc_unusualEmPKv
.Lother:
        cmpq    $16, %rdi               // HeapMap::kGranule
        jbe     .Lshort
        jmp     _ZN8castaway12malloc_largeEm
.Lshort:
        jmp     _ZN8castaway12malloc_shortEm
.Lrarely:
        movq    %rax, %rdi
        movq    (%rsp), %rdx
        jmp     _ZN8castaway11note_rarelyEPvmPKv
        .cfi_endproc
        .size   malloc, .-malloc

        .globl  free
        .type   free, @function
        .p2align 6
free:   .cfi_startproc
        movq    %rdi, %rdx              // HeapMap::code_of()
        rorq    $4, %rdx
        movq    %rdx, %rax
        shrq    $22, %rax
        cmpq    $0x1fffff, %rax
        ja      .Lfree_slowly
        leaq    ORIGINS, %rcx
        movq    (%rcx,%rax,8), %rax
        testq   %rax, %rax
        jz      .Lfree_slowly
        addq    %rdx, %rax
        movzwl  (%rax), %ecx            // HeapMap::erase_plain()
        leal    -0x8012(%rcx), %edx
        andl    $0xf0ff, %edx
        cmpl    $0x6c, %edx
        ja      .Lno_medium
.Lforget:
        movb    $0, (%rax)
.Ljump: jmp     *REAL_FREE
.Lno_medium:
        decl    %ecx                    // 1 to 16: a block of one granule, without a flag
        cmpb    $16, %cl
        jb      .Lforget
.Lfree_slowly:
        jmp     _ZN8castaway11free_slowlyEPv
        .cfi_endproc
        .size   free, .-free

// For direct_calls.cc: where the two branches to the allocator are, from here.
        .section .rodata, "a", @progbits
        .globl  castaway_branches
        .hidden castaway_branches
        .type   castaway_branches, @object
        .p2align 2
castaway_branches:
        .long   .Lcall - castaway_branches
        .long   .Ljump - castaway_branches
        .size   castaway_branches, 8
        .section .note.GNU-stack,"",@progbits
