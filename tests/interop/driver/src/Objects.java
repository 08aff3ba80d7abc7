// Objects of one open Realm: found by primary key, changed at a place, read back.
// A place is a property name, or an array that leads there through embedded objects and collections:
//   "name"   ["list", 2]   ["dict", "key"]   ["children", 0, "name"]   ["address", "street"]
// or on into the lists and dictionaries that a Mixed place holds:
//   ["any", 2, "key", 0]   ["mixed list", 2, "key"]

import com.google.gson.*;
import io.realm.kotlin.internal.interop.*;
import java.nio.charset.StandardCharsets;
import java.security.*;
import java.util.*;

final class Objects {
    private final OpenRealm realm;

    Objects(OpenRealm realm) {
        this.realm = realm;
    }

    // ---------------------------------------------------------------- whole objects

    private long find(String table, JsonElement key) {
        boolean[] found = new boolean[1];
        Schema.Table t = realm.schema.table(table);
        realm_value_t pk = Values.toNative(key, t.property(t.key()).base());
        long o = realmc.realm_object_find_with_primary_key(realm.ptr, realm.table(table), pk, found);
        if (!found[0] || o == 0) throw new NoSuchElementException("no object " + table + " " + key);
        return o;
    }

    /** Creates the object, or takes the existing one, and sets the properties given. */
    void create(String table, JsonElement key, JsonObject values) {
        Schema.Table t = realm.schema.table(table);
        realm_value_t pk = Values.toNative(key, t.property(t.key()).base());
        long o = realmc.realm_object_get_or_create_with_primary_key(realm.ptr, realm.table(table), pk, new boolean[1]);
        fill(t, o, values);
    }

    /** Creates count objects with int keys from first on; the string property gets a text of that length, different in each. */
    void createMany(String table, long first, long count, String property, int length) {
        Random letters = new Random(first);
        for (long i = first; i < first + count; i++) {
            StringBuilder text = new StringBuilder(Long.toString(i)).append(' ');
            while (text.length() < length) text.append((char) ('a' + letters.nextInt(26)));
            create(table, new JsonPrimitive(i), Values.object(property, new JsonPrimitive(text.toString())));
        }
    }

    void delete(String table, JsonElement key) {
        try (Sdk.Handle o = new Sdk.Handle(find(table, key))) {
            realmc.realm_object_delete(o.ptr());
        }
    }

    void deleteAll(String table) {
        try (Sdk.Handle all = new Sdk.Handle(realmc.realm_object_find_all(realm.ptr, realm.table(table)))) {
            realmc.realm_results_delete_all(all.ptr());
        }
    }

    // ---------------------------------------------------------------- places

    private interface Use { void accept(String table, long object, List<JsonElement> place); }

    /** Walks through embedded objects to the object that holds the place; the rest of the place stays for the use. */
    private void at(String table, JsonElement key, JsonElement place, Use use) {
        List<JsonElement> path = place.isJsonArray() ? place.getAsJsonArray().asList() : List.of(place);
        long o = find(table, key);
        String name = table;
        while (path.size() > 1) {
            Schema.Type t = realm.schema.table(name).property(path.get(0).getAsString());
            int step = t.shape() == Schema.Shape.SINGLE ? 1 : 2;
            if (path.size() <= step || isMixed(t)) break;      // the place is an element or a key, or inside Mixed
            long child = linked(read(name, o, path.subList(0, step)));
            realmc.realm_release(o);
            o = child;
            name = t.base();
            path = path.subList(step, path.size());
        }
        try (Sdk.Handle held = new Sdk.Handle(o)) {
            use.accept(name, held.ptr(), path);
        }
    }

    private static boolean isMixed(Schema.Type t) {
        return t.base().equals("mixed");
    }

    /** Whether the place is a list or dictionary of Mixed values, or an element of one. */
    private boolean isNested(String table, List<JsonElement> path) {
        Schema.Type t = realm.schema.table(table).property(path.get(0).getAsString());
        return isMixed(t) && t.shape() != Schema.Shape.SET;
    }

    /** The list or dictionary of Mixed values at the place. */
    private Nested nested(String table, long o, List<JsonElement> path) {
        String property = path.get(0).getAsString();
        Schema.Shape shape = realm.schema.table(table).property(property).shape();
        Nested n = Nested.of(this, o, realm.property(table, property), shape);
        for (JsonElement step : path.subList(1, path.size())) {
            try (Nested outer = n) {
                n = outer.child(step);
            }
        }
        return n;
    }

    /** The list or dictionary of Mixed values that holds the place as its element. */
    private Nested around(String table, long o, List<JsonElement> path) {
        return nested(table, o, path.subList(0, path.size() - 1));
    }

    private realm_value_t read(String table, long o, List<JsonElement> place) {
        Schema.Type t = realm.schema.table(table).property(place.get(0).getAsString());
        long property = realm.property(table, place.get(0).getAsString());
        realm_value_t v = new realm_value_t();
        switch (t.shape()) {
            case LIST -> {
                try (Sdk.Handle l = new Sdk.Handle(realmc.realm_get_list(o, property))) {
                    realmc.realm_list_get(l.ptr(), place.get(1).getAsLong(), v);
                }
            }
            case DICTIONARY -> {
                try (Sdk.Handle d = new Sdk.Handle(realmc.realm_get_dictionary(o, property))) {
                    realmc.realm_dictionary_find(d.ptr(), Values.toNative(place.get(1), "string"), v, new boolean[1]);
                }
            }
            default -> realmc.realm_get_value(o, property, v);
        }
        return v;
    }

    private long linked(realm_value_t v) {
        if (v.getType() != realm_value_type_e.RLM_TYPE_LINK) throw new NoSuchElementException("no object at this place");
        return realmc.realm_get_object(realm.ptr, v.getLink().getTarget_table(), v.getLink().getTarget());
    }

    /** Sets a property (collections: the whole content), a list element or a dictionary key. */
    void set(String table, JsonElement key, JsonElement place, JsonElement value) {
        at(table, key, place, (name, o, path) -> {
            String property = path.get(0).getAsString();
            Schema.Type t = realm.schema.table(name).property(property);
            if (path.size() == 1) {
                assign(realm.schema.table(name), o, property, value);
            } else if (isNested(name, path)) {
                try (Nested n = around(name, o, path)) {
                    n.set(path.get(path.size() - 1), value);
                }
            } else if (t.shape() == Schema.Shape.LIST) {
                try (Sdk.Handle l = new Sdk.Handle(realmc.realm_get_list(o, realm.property(name, property)))) {
                    long i = path.get(1).getAsLong();
                    if (realm.schema.isEmbedded(t.base())) fill(t, realmc.realm_list_set_embedded(l.ptr(), i), value);
                    else realmc.realm_list_set(l.ptr(), i, toNative(value, t.base()));
                }
            } else {
                try (Sdk.Handle d = new Sdk.Handle(realmc.realm_get_dictionary(o, realm.property(name, property)))) {
                    setKey(t, d.ptr(), path.get(1), value);
                }
            }
        });
    }

    /** Adds to an integer property. */
    void add(String table, JsonElement key, JsonElement place, long n) {
        at(table, key, place, (name, o, path) ->
            realmc.realm_object_add_int(o, realm.property(name, path.get(0).getAsString()), n));
    }

    /** Removes a list element or a dictionary key. */
    void erase(String table, JsonElement key, JsonElement place) {
        at(table, key, place, (name, o, path) -> {
            String property = path.get(0).getAsString();
            long p = realm.property(name, property);
            if (isNested(name, path)) {
                try (Nested n = around(name, o, path)) {
                    n.erase(path.get(path.size() - 1));
                }
            } else if (realm.schema.table(name).property(property).shape() == Schema.Shape.LIST) {
                try (Sdk.Handle l = new Sdk.Handle(realmc.realm_get_list(o, p))) {
                    realmc.realm_list_erase(l.ptr(), path.get(1).getAsLong());
                }
            } else {
                try (Sdk.Handle d = new Sdk.Handle(realmc.realm_get_dictionary(o, p))) {
                    realmc.realm_dictionary_erase(d.ptr(), Values.toNative(path.get(1), "string"), new boolean[1]);
                }
            }
        });
    }

    /** Inserts into a list; index -1 appends. */
    void insert(String table, JsonElement key, JsonElement place, long index, JsonElement value) {
        at(table, key, place, (name, o, path) -> {
            String property = path.get(0).getAsString();
            if (isNested(name, path)) {
                try (Nested n = nested(name, o, path)) {
                    n.insert(index, value);
                }
                return;
            }
            try (Sdk.Handle l = new Sdk.Handle(realmc.realm_get_list(o, realm.property(name, property)))) {
                insert(realm.schema.table(name).property(property), l.ptr(), index < 0 ? listSize(l.ptr()) : index, value);
            }
        });
    }

    void move(String table, JsonElement key, JsonElement place, long from, long to) {
        at(table, key, place, (name, o, path) -> {
            try (Sdk.Handle l = new Sdk.Handle(realmc.realm_get_list(o, realm.property(name, path.get(0).getAsString())))) {
                realmc.realm_list_move(l.ptr(), from, to);
            }
        });
    }

    /** Empties a list, set or dictionary. */
    void clear(String table, JsonElement key, JsonElement place) {
        at(table, key, place, (name, o, path) -> {
            String property = path.get(0).getAsString();
            if (isNested(name, path)) {
                try (Nested n = nested(name, o, path)) {
                    n.clear();
                }
                return;
            }
            clear(realm.schema.table(name).property(property), o, realm.property(name, property));
        });
    }

    /** Puts a value into a set, or takes it out. */
    void member(String table, JsonElement key, JsonElement place, JsonElement value, boolean present) {
        at(table, key, place, (name, o, path) -> {
            String property = path.get(0).getAsString();
            realm_value_t v = toNative(value, realm.schema.table(name).property(property).base());
            try (Sdk.Handle s = new Sdk.Handle(realmc.realm_get_set(o, realm.property(name, property)))) {
                if (present) realmc.realm_set_insert(s.ptr(), v, new long[1], new boolean[1]);
                else realmc.realm_set_erase(s.ptr(), v, new boolean[1]);
            }
        });
    }

    // ---------------------------------------------------------------- writing values

    private void fill(Schema.Table table, long o, JsonObject values) {
        try (Sdk.Handle held = new Sdk.Handle(o)) {
            values.entrySet().forEach(e -> assign(table, held.ptr(), e.getKey(), e.getValue()));
        }
    }

    private void fill(Schema.Type embedded, long o, JsonElement values) {
        fill(realm.schema.table(embedded.base()), o, values.getAsJsonObject());
    }

    private void assign(Schema.Table table, long o, String property, JsonElement value) {
        Schema.Type t = table.property(property);
        long p = realm.property(table.name(), property);
        if (isMixed(t) && (t.shape() == Schema.Shape.LIST || t.shape() == Schema.Shape.DICTIONARY)) {
            clear(t, o, p);
            try (Nested n = Nested.of(this, o, p, t.shape())) {
                n.fill(value);
            }
            return;
        }
        switch (t.shape()) {
            case SINGLE -> {
                if (isMixed(t) && Nested.isCollection(value)) Nested.assign(this, o, p, value);
                else if (realm.schema.isEmbedded(t.base()) && value.isJsonObject()) fill(t, realmc.realm_set_embedded(o, p), value);
                else realmc.realm_set_value(o, p, toNative(value, t.base()), false);
            }
            case LIST -> {
                clear(t, o, p);
                try (Sdk.Handle l = new Sdk.Handle(realmc.realm_get_list(o, p))) {
                    long i = 0;
                    for (JsonElement e : value.getAsJsonArray()) insert(t, l.ptr(), i++, e);
                }
            }
            case SET -> {
                clear(t, o, p);
                try (Sdk.Handle s = new Sdk.Handle(realmc.realm_get_set(o, p))) {
                    for (JsonElement e : value.getAsJsonArray())
                        realmc.realm_set_insert(s.ptr(), toNative(e, t.base()), new long[1], new boolean[1]);
                }
            }
            case DICTIONARY -> {
                clear(t, o, p);
                try (Sdk.Handle d = new Sdk.Handle(realmc.realm_get_dictionary(o, p))) {
                    value.getAsJsonObject().entrySet().forEach(e -> setKey(t, d.ptr(), new JsonPrimitive(e.getKey()), e.getValue()));
                }
            }
        }
    }

    private void insert(Schema.Type t, long list, long index, JsonElement value) {
        if (realm.schema.isEmbedded(t.base())) fill(t, realmc.realm_list_insert_embedded(list, index), value);
        else realmc.realm_list_insert(list, index, toNative(value, t.base()));
    }

    private void setKey(Schema.Type t, long dictionary, JsonElement key, JsonElement value) {
        realm_value_t k = Values.toNative(key, "string");
        if (realm.schema.isEmbedded(t.base()) && value.isJsonObject())
            fill(t, realmc.realm_dictionary_insert_embedded(dictionary, k), value);
        else
            realmc.realm_dictionary_insert(dictionary, k, toNative(value, t.base()), new long[1], new boolean[1]);
    }

    private static void clear(Schema.Type t, long o, long property) {
        switch (t.shape()) {
            case LIST -> {
                try (Sdk.Handle l = new Sdk.Handle(realmc.realm_get_list(o, property))) {
                    realmc.realm_list_clear(l.ptr());
                }
            }
            case SET -> {
                try (Sdk.Handle s = new Sdk.Handle(realmc.realm_get_set(o, property))) {
                    realmc.realm_set_clear(s.ptr());
                }
            }
            case DICTIONARY -> {
                try (Sdk.Handle d = new Sdk.Handle(realmc.realm_get_dictionary(o, property))) {
                    realmc.realm_dictionary_clear(d.ptr());
                }
            }
            default -> throw new IllegalArgumentException("not a collection");
        }
    }

    /** A value for a place of the declared base type; where that is a class, a bare key names the target. */
    realm_value_t toNative(JsonElement j, String base) {
        boolean tagged = j.isJsonObject() && j.getAsJsonObject().has("$link");
        boolean link = realm.schema.tables().stream().anyMatch(t -> t.name().equals(base));
        if (j.isJsonNull() || !tagged && !link) return Values.toNative(j, base);
        String table = tagged && !link ? j.getAsJsonObject().get("class").getAsString() : base;
        JsonElement key = tagged ? j.getAsJsonObject().get("$link") : j;
        realm_value_t v = new realm_value_t();
        v.setType(realm_value_type_e.RLM_TYPE_LINK);
        try (Sdk.Handle o = new Sdk.Handle(find(table, key))) {
            v.setLink(realmc.realm_object_as_link(o.ptr()));
        }
        return v;
    }

    // ---------------------------------------------------------------- reading

    JsonObject get(String table, JsonElement key) {
        try (Sdk.Handle o = new Sdk.Handle(find(table, key))) {
            return read(realm.schema.table(table), o.ptr());
        }
    }

    /** Every object of every class: {class: {key as JSON: object}}, keys sorted; sets sorted by their JSON. */
    JsonObject dump() {
        TreeMap<String, JsonElement> tables = new TreeMap<>();
        for (Schema.Table t : realm.schema.tables()) if (!t.embedded()) tables.put(t.name(), dump(t.name()));
        return sorted(tables);
    }

    JsonObject dump(String table) {
        TreeMap<String, JsonElement> objects = new TreeMap<>();
        Schema.Table t = realm.schema.table(table);
        try (Sdk.Handle all = new Sdk.Handle(realmc.realm_object_find_all(realm.ptr, realm.table(table)))) {
            long n = count(all.ptr());
            for (long i = 0; i < n; i++) {
                try (Sdk.Handle o = new Sdk.Handle(realmc.realm_results_get_object(all.ptr(), i))) {
                    JsonObject object = read(t, o.ptr());
                    objects.put(Sdk.GSON.toJson(object.get(t.key())), object);
                }
            }
        }
        return sorted(objects);
    }

    long count(String table) {
        try (Sdk.Handle all = new Sdk.Handle(realmc.realm_object_find_all(realm.ptr, realm.table(table)))) {
            return count(all.ptr());
        }
    }

    private static long count(long results) {
        long[] n = new long[1];
        realmc.realm_results_count(results, n);
        return n[0];
    }

    /** The SHA-256 of the dump: equal for equal Realms, small for large ones. */
    String digest() throws GeneralSecurityException {
        byte[] text = Sdk.GSON.toJson(dump()).getBytes(StandardCharsets.UTF_8);
        return HexFormat.of().formatHex(MessageDigest.getInstance("SHA-256").digest(text));
    }

    private JsonObject read(Schema.Table table, long o) {
        TreeMap<String, JsonElement> values = new TreeMap<>();
        table.properties().forEach((name, type) -> values.put(name, read(type, o, realm.property(table.name(), name))));
        return sorted(values);
    }

    private JsonElement read(Schema.Type type, long o, long property) {
        realm_value_t v = new realm_value_t();
        long[] size = new long[1];
        if (isMixed(type) && (type.shape() == Schema.Shape.LIST || type.shape() == Schema.Shape.DICTIONARY)) {
            try (Nested n = Nested.of(this, o, property, type.shape())) {
                return n.toJson();
            }
        }
        switch (type.shape()) {
            case LIST: {
                JsonArray a = new JsonArray();
                try (Sdk.Handle l = new Sdk.Handle(realmc.realm_get_list(o, property))) {
                    long n = listSize(l.ptr());
                    for (long i = 0; i < n; i++) {
                        realmc.realm_list_get(l.ptr(), i, v);
                        a.add(toJson(v));
                    }
                }
                return a;
            }
            case SET: {
                TreeMap<String, JsonElement> members = new TreeMap<>();
                try (Sdk.Handle s = new Sdk.Handle(realmc.realm_get_set(o, property))) {
                    realmc.realm_set_size(s.ptr(), size);
                    for (long i = 0; i < size[0]; i++) {
                        realmc.realm_set_get(s.ptr(), i, v);
                        JsonElement e = toJson(v);
                        members.put(Sdk.GSON.toJson(e), e);
                    }
                }
                JsonArray a = new JsonArray();
                members.values().forEach(a::add);
                return a;
            }
            case DICTIONARY: {
                TreeMap<String, JsonElement> entries = new TreeMap<>();
                realm_value_t k = new realm_value_t();
                try (Sdk.Handle d = new Sdk.Handle(realmc.realm_get_dictionary(o, property))) {
                    realmc.realm_dictionary_size(d.ptr(), size);
                    for (long i = 0; i < size[0]; i++) {
                        realmc.realm_dictionary_get(d.ptr(), i, k, v);
                        entries.put(k.getString(), toJson(v));
                    }
                }
                return sorted(entries);
            }
            default:
                realmc.realm_get_value(o, property, v);
                if (!Nested.isCollection(v)) return toJson(v);
                try (Nested n = Nested.of(this, o, property, type.shape())) {
                    return n.toJson();
                }
        }
    }

    private static long listSize(long list) {
        long[] n = new long[1];
        realmc.realm_list_size(list, n);
        return n[0];
    }

    JsonElement toJson(realm_value_t v) {
        if (v.getType() != realm_value_type_e.RLM_TYPE_LINK) return Values.toJson(v);
        Schema.Table t = realm.tableOf(v.getLink().getTarget_table());
        try (Sdk.Handle o = new Sdk.Handle(linked(v))) {
            if (t.embedded()) return read(t, o.ptr());
            realm_value_t pk = new realm_value_t();
            realmc.realm_get_value(o.ptr(), realm.property(t.name(), t.key()), pk);
            JsonObject r = Values.object("$link", Values.toJson(pk));
            r.addProperty("class", t.name());
            return r;
        }
    }

    static JsonObject sorted(TreeMap<String, JsonElement> entries) {
        JsonObject o = new JsonObject();
        entries.forEach(o::add);
        return o;
    }
}
