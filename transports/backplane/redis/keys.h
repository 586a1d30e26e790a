/* keys.h - what lies in Redis, and the scripts that change it: each one atomic, so a space's order
 * is the order of its scripts. S = the space, C = the channel; the braces keep a space on one slot
 * of a cluster. In another database than 0 they begin with its number, as xs3:. Specification:
 * realtime.md §13.1.
 *
 *   xs:{S}:epoch, xs:{S}:seq   the space's epoch, 16 hex digits; its counter
 *   xs:{S}:i:<node>            "<number> <seq> <off>" of the node's newest record, for an hour
 *   xs:{S}:m:C                 hash: off, last (seq), ver (changes of members)
 *   xs:{S}:h:C                 stream <seq>-0: o (off), t (ms), v (record)
 *   xs:{S}:p:C, xs:{S}:px:C    members: hash socket id → "<node> <data>", and when they end (ms)
 *   xs:{S}:k:C                 hash client → "<seq> <off> <ms>": what it has acknowledged, its end
 *   xs:{S}:r:<key>             a counter that ends with its window
 *   xs:node:<number>           the node that has the number
 *   xs:{S}:c:C                 topic: "E <epoch> <seq> <off> <ms> <record>" numbered, "U <record>",
 *                              "J|L <ver> <socket id> <node> <data>" members
 *   xs:{S}:a                   topic of all nodes: "<node> <note>"
 *   xs:{S}:n:<node>            topic of one node: its snapshots, and "B <n> <length> <channel>",
 *                              a barrier behind what it published */
#ifndef BACKPLANE_REDIS_KEYS_H
#define BACKPLANE_REDIS_KEYS_H

#define NOW                                                                                        \
    "local t=redis.call('TIME') "                                                                  \
    "local now=string.format('%.0f',t[1]*1000+math.floor(t[2]/1000)) "
#define EPOCH                                                                                      \
    "local e=redis.call('GET',KEYS[1]) "                                                           \
    "if not e then e=ARGV[1] redis.call('SET',KEYS[1],e) end "
#define CHANGED                                                                                    \
    "local function changed(what,id,value) "                                                       \
    "local ver=string.format('%.0f',redis.call('HINCRBY',KEYS[3],'ver',1)) "                       \
    "local left=redis.call('PTTL',KEYS[3]) "                                                       \
    "if left<86400000 and (left>=0 or redis.call('HEXISTS',KEYS[3],'off')==0) then "               \
    "redis.call('PEXPIRE',KEYS[3],86400000) end "                                                  \
    "redis.call('PUBLISH',KEYS[4],what..' '..ver..' '..id..' '..value) end "
/* Records of the stream h that have reached their age, in ms, go: each one, or all with the newest.
 */
#define AGED                                                                                       \
    "local function aged(h,age,each) if tonumber(age)==0 then return end local old "               \
    "if each~='1' then old=redis.call('XREVRANGE',h,'+','-','COUNT',1)[1] "                        \
    "if old and tonumber(old[2][4])<now-age then redis.call('DEL',h) end return end "              \
    "repeat old={} for _,r in ipairs(redis.call('XRANGE',h,'-','+','COUNT',100)) do "              \
    "if tonumber(r[2][4])<now-age then old[#old+1]=r[1] end end "                                  \
    "if #old>0 then redis.call('XDEL',h,unpack(old)) end until #old<100 end "

/* keys: epoch seq m h topic i; args: epoch if there is none, events, ttl ms (0 = none), record, its
 * number among those of the node, age ms, 1 for each. A record that is sent again, since its answer
 * was lost, counts once. */
static const char script_publish[] = EPOCH NOW AGED
    "local last=redis.call('GET',KEYS[6]) "
    "if last then local n,s,o=string.match(last,'(%d+) (%d+) (%d+)') "
    "if tonumber(n)>=tonumber(ARGV[5]) then return {e,s,o} end end "
    "local s=string.format('%.0f',redis.call('INCR',KEYS[2])) "
    "local o=string.format('%.0f',redis.call('HINCRBY',KEYS[3],'off',1)) "
    "redis.call('SET',KEYS[6],ARGV[5]..' '..s..' '..o,'PX',3600000) "
    "redis.call('HSET',KEYS[3],'last',s) aged(KEYS[4],ARGV[6],ARGV[7]) "
    "redis.call('XADD',KEYS[4],'MAXLEN','~',ARGV[2],s..'-0','o',o,'t',now,'v',ARGV[4]) "
    "for i=3,4 do if ARGV[3]=='0' then redis.call('PERSIST',KEYS[i]) "
    "else redis.call('PEXPIRE',KEYS[i],ARGV[3]) end end "
    "redis.call('PUBLISH',KEYS[5],'E '..e..' '..s..' '..o..' '..now..' '..ARGV[4]) return {e,s,o}";

/* keys: epoch seq m h p px node-topic; args: epoch if there is none, events, "S <nonce> <length of
 * the channel> <channel>". The answer goes over the topic: it comes behind everything it contains,
 * and before everything later. Its fields: epoch seq off last ver records members, then for each
 * record seq off ms length bytes, for each member socket id length bytes; a blank behind each. */
static const char script_snapshot[] = EPOCH NOW
    "local m=redis.call('HMGET',KEYS[3],'off','last','ver') "
    "local out={ARGV[3],e,redis.call('GET',KEYS[2]) or '0',m[1] or '0',m[2] or '0',m[3] or '0'} "
    "local records=redis.call('XREVRANGE',KEYS[4],'+','-','COUNT',ARGV[2]) local members={} "
    "for _,id in ipairs(redis.call('ZRANGEBYSCORE',KEYS[6],now,'+inf')) do "
    "local v=redis.call('HGET',KEYS[5],id) if v then members[#members+1]={id,v} end end "
    "out[#out+1]=#records out[#out+1]=#members "
    "for i=#records,1,-1 do local id,f=records[i][1],{} "
    "for k=1,#records[i][2],2 do f[records[i][2][k]]=records[i][2][k+1] end "
    "out[#out+1]=string.match(id,'^%d+') out[#out+1]=f.o out[#out+1]=f.t "
    "out[#out+1]=#f.v out[#out+1]=f.v end "
    "for i=1,#members do out[#out+1]=members[i][1] out[#out+1]=#members[i][2] "
    "out[#out+1]=members[i][2] end out[#out+1]='' "
    "redis.call('PUBLISH',KEYS[7],table.concat(out,' ')) return #records";

/* keys: p px m topic; args: "join" "stay" or "leave", socket id, "<node> <data>", ttl ms. A member
 * that stays joins again when it was forgotten. */
static const char script_member[] = CHANGED NOW
    "local id,value=ARGV[2],ARGV[3] "
    "if ARGV[1]=='leave' then redis.call('ZREM',KEYS[2],id) "
    "if redis.call('HDEL',KEYS[1],id)==1 then changed('L',id,value) end return 0 end "
    "redis.call('ZADD',KEYS[2],now+ARGV[4],id) "
    "redis.call('PEXPIRE',KEYS[1],86400000) redis.call('PEXPIRE',KEYS[2],86400000) "
    "if redis.call('HSETNX',KEYS[1],id,value)==1 or ARGV[1]=='join' then changed('J',id,value) end "
    "redis.call('PEXPIRE',KEYS[1],86400000) return 1";

/* keys: p px m topic. Members whose node no longer says that they stay. */
static const char script_reap[] = CHANGED NOW
    "for _,id in ipairs(redis.call('ZRANGEBYSCORE',KEYS[2],'-inf',now,'LIMIT',0,100)) do "
    "local value=redis.call('HGET',KEYS[1],id) redis.call('ZREM',KEYS[2],id) "
    "if value then redis.call('HDEL',KEYS[1],id) changed('L',id,value) end end return 0";

/* keys: m h k; args: "open" "page" or "ack", client, its life ms, id, events that count,
 * transcript, age ms, 1 for each, records and bytes of a page. The answer: cursor, newest seq,
 * resumed, more, length of the transcript, then seq off ms record of each. */
static const char script_ask[] = NOW AGED
    "local what,client,id=ARGV[1],ARGV[2],ARGV[4] "
    "local m=redis.call('HMGET',KEYS[1],'off','last') "
    "local newest,last,cursor,off,found=tonumber(m[1] or 0),m[2] or '0','0','0',false "
    "aged(KEYS[2],ARGV[7],ARGV[8]) "
    "if client~='' then local v=redis.call('HGET',KEYS[3],client) "
    "local c,o,till=string.match(v or '','(%d+) (%d+) (%d+)') "
    "if c and tonumber(till)>=tonumber(now) then cursor,off,found=c,o,true end end "
    "if what=='ack' then if tonumber(id)>tonumber(last) then id=last end "
    "if tonumber(id)>tonumber(cursor) then cursor=id "
    "local r=redis.call('XREVRANGE',KEYS[2],id..'-0','-','COUNT',1)[1] "
    "off=r and r[2][2] or '0' end end "
    "if client~='' and what~='page' then "
    "redis.call('HSET',KEYS[3],client,cursor..' '..off..' '..string.format('%.0f',now+ARGV[3])) "
    "if redis.call('PTTL',KEYS[3])<tonumber(ARGV[3]) then "
    "redis.call('PEXPIRE',KEYS[3],ARGV[3]) end "
    /* Nobody else looks for cursors that have ended. */
    "for _,f in ipairs(redis.call('HRANDFIELD',KEYS[3],3)) do "
    "if tonumber(string.match(redis.call('HGET',KEYS[3],f),'%d+$'))<tonumber(now) then "
    "redis.call('HDEL',KEYS[3],f) end end end "
    "local out,gone={cursor,last,0,0,0},tonumber(ARGV[5])>0 and newest-ARGV[5] or 0 "
    "local function add(r) local n=#out out[n+1]=string.match(r[1],'^%d+') "
    "out[n+2]=r[2][2] out[n+3]=r[2][4] out[n+4]=r[2][6] end "
    "if what=='open' and ARGV[6]~='0' then "
    "local r=redis.call('XREVRANGE',KEYS[2],'+','-','COUNT',ARGV[6]) "
    "for i=#r,1,-1 do if tonumber(r[i][2][2])>gone then add(r[i]) out[5]=out[5]+1 end end end "
    "if what=='ack' or (what=='open' and client=='') then return out end "
    "local at,n,bytes,first,r='('..(what=='open' and cursor or id)..'-0',0,0,nil,nil "
    "repeat r=redis.call('XRANGE',KEYS[2],at,'+','COUNT',100) "
    "for _,e in ipairs(r) do at='('..e[1] "
    "if out[4]==0 and tonumber(e[2][2])>gone then "
    "if n==tonumber(ARGV[9]) or bytes>tonumber(ARGV[10]) then out[4]=1 else "
    "first=first or tonumber(e[2][2]) n=n+1 bytes=bytes+#e[2][6] add(e) end end end "
    "until #r<100 or out[4]==1 "
    "if found and (first and first==off+1 or not first and tonumber(off)>=newest) then out[3]=1 "
    "end "
    "return out";

/* keys: r; args: window ms. The answer: how many, and what is left of the window. */
static const char script_count[] = "local n=redis.call('INCR',KEYS[1]) "
                                   "if n==1 then redis.call('PEXPIRE',KEYS[1],ARGV[1]) end "
                                   "return {n,redis.call('PTTL',KEYS[1])}";

#undef NOW
#undef EPOCH
#undef CHANGED
#undef AGED

#endif
