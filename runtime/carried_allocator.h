// Programs that carry their own malloc in the executable: whether we can see what it does.
//
// The executable comes first when names are looked up, so its malloc is everybody's and ours is never called.
// gperftools' tcmalloc offers hooks (MallocHook) that are called on each allocation and release; they are looked for
// among the executable's symbols, exported or not. Any other allocator cannot be seen, and that has to be said.
#pragma once

namespace castaway {

enum class CarriedAllocator { none, hooked, unseen };

// Before main. Makes one allocation to see whether it passes us.
CarriedAllocator find_carried_allocator();

} // namespace castaway
