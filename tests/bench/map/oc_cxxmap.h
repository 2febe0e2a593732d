/* SPDX-License-Identifier: MIT */
static void
oc_init(void)
{
	mp = new std::remove_pointer<decltype(mp)>::type();
}
static void
oc_fini(void)
{
	delete mp;
	mp = nullptr;
}
static int
oc_insert(u64 s, u64 z, u64 v)
{
	return mp->emplace(s, smv{ z, v }).second;
}
static int
oc_erase(u64 s, u64 z)
{
	(void)z;
	return (int)mp->erase(s);
}
static inline int
oc_find(u64 a, oc_ent *o)
{
	auto i = mp->upper_bound(a);
	if (i == mp->begin())
		return 0;
	--i;
	if (a - i->first >= i->second.size)
		return 0;
	o->start = i->first;
	o->size = i->second.size;
	o->val = i->second.val;
	return 1;
}
static u64
oc_iterate(void)
{
	u64 x = 0;
	for (auto &k : *mp)
		x += k.first ^ k.second.val;
	return x;
}
static u64
oc_gap(u64 lo, u64 z)
{
	for (auto i = mp->lower_bound(lo); i != mp->end(); ++i) {
		if (i->first - lo >= z)
			return lo;
		lo = i->first + i->second.size;
	}
	return lo;
}
static size_t
oc_bytes(void)
{
	return malloc_now() - oc_malloc_base;
}
