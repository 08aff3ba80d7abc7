// A list or dictionary of Mixed values: a property declared so, or the content of a Mixed place, at any depth.
// In a Mixed place a JSON array is a list and an object without a tag a dictionary; its keys never start with "$".
// Only SDKs with core 14.8 or later have collections in Mixed places: the functions for them are called by reflection.

import com.google.gson.*;
import io.realm.kotlin.internal.interop.*;
import java.util.*;

final class Nested implements AutoCloseable {
    static final int LIST = 12;                                // of realm_value_type_e, which older SDKs have without them
    static final int DICTIONARY = 13;

    private final Objects objects;
    private final boolean list;
    private final long ptr;

    private Nested(Objects objects, boolean list, long ptr) {
        if (ptr == 0) throw new NoSuchElementException("no " + (list ? "list" : "dictionary") + " at this place");
        this.objects = objects;
        this.list = list;
        this.ptr = ptr;
    }

    /** The list or dictionary in a property; for a Mixed property what it holds now. */
    static Nested of(Objects objects, long object, long property, Schema.Shape shape) {
        boolean list = shape == Schema.Shape.LIST;
        if (shape == Schema.Shape.SINGLE) {
            realm_value_t v = new realm_value_t();
            realmc.realm_get_value(object, property, v);
            list = isList(v);
        }
        return new Nested(objects, list, list ? realmc.realm_get_list(object, property) : realmc.realm_get_dictionary(object, property));
    }

    /** Makes a Mixed property a list or dictionary with that content. */
    static void assign(Objects objects, long object, long property, JsonElement value) {
        boolean list = value.isJsonArray();
        long made = (Long) Sdk.call(list ? "realm_set_list" : "realm_set_dictionary", object, property);
        try (Nested n = new Nested(objects, list, made)) {
            n.fill(value);
        }
    }

    static boolean isCollection(JsonElement value) {
        if (!value.isJsonObject()) return value.isJsonArray();
        return value.getAsJsonObject().keySet().stream().noneMatch(key -> key.startsWith("$"));
    }

    static boolean isCollection(realm_value_t v) {
        return v.getType() == LIST || v.getType() == DICTIONARY;
    }

    private static boolean isList(realm_value_t v) {
        if (!isCollection(v)) throw new NoSuchElementException("no list or dictionary at this place");
        return v.getType() == LIST;
    }

    @Override public void close() {
        realmc.realm_release(ptr);
    }

    /** The list or dictionary at an index or key. */
    Nested child(JsonElement step) {
        return child(step, isList(value(step)));
    }

    private Nested child(JsonElement step, boolean isList) {
        String kind = isList ? "list" : "dictionary";
        Object made = list ? Sdk.call("realm_list_get_" + kind, ptr, step.getAsLong())
            : Sdk.call("realm_dictionary_get_" + kind, ptr, key(step));
        return new Nested(objects, isList, (Long) made);
    }

    private realm_value_t value(JsonElement step) {
        realm_value_t v = new realm_value_t();
        if (list) {
            realmc.realm_list_get(ptr, step.getAsLong(), v);
        } else {
            boolean[] found = new boolean[1];
            realmc.realm_dictionary_find(ptr, key(step), v, found);
            if (!found[0]) throw new NoSuchElementException("no key " + step);
        }
        return v;
    }

    private static realm_value_t key(JsonElement step) {
        return Values.toNative(step, "string");
    }

    // ---------------------------------------------------------------- writing

    /** Sets an element or a key. */
    void set(JsonElement step, JsonElement value) {
        if (isCollection(value)) {
            String kind = value.isJsonArray() ? "list" : "dictionary";
            Object made = list ? Sdk.call("realm_list_set_" + kind, ptr, step.getAsLong())
                : Sdk.call("realm_dictionary_insert_" + kind, ptr, key(step));
            fill((Long) made, value);
        } else if (list) {
            realmc.realm_list_set(ptr, step.getAsLong(), objects.toNative(value, "mixed"));
        } else {
            realmc.realm_dictionary_insert(ptr, key(step), objects.toNative(value, "mixed"), new long[1], new boolean[1]);
        }
    }

    /** Inserts into a list; index -1 appends. */
    void insert(long index, JsonElement value) {
        if (!list) throw new IllegalArgumentException("not a list");
        long at = index < 0 ? size() : index;
        if (isCollection(value))
            fill((Long) Sdk.call(value.isJsonArray() ? "realm_list_insert_list" : "realm_list_insert_dictionary", ptr, at), value);
        else
            realmc.realm_list_insert(ptr, at, objects.toNative(value, "mixed"));
    }

    /** Removes an element or a key. */
    void erase(JsonElement step) {
        if (list) realmc.realm_list_erase(ptr, step.getAsLong());
        else realmc.realm_dictionary_erase(ptr, key(step), new boolean[1]);
    }

    void clear() {
        if (list) realmc.realm_list_clear(ptr);
        else realmc.realm_dictionary_clear(ptr);
    }

    /** Replaces the content. */
    void fill(JsonElement value) {
        if (size() > 0) clear();
        if (list) value.getAsJsonArray().forEach(e -> insert(-1, e));
        else value.getAsJsonObject().entrySet().forEach(e -> set(new JsonPrimitive(e.getKey()), e.getValue()));
    }

    private void fill(long made, JsonElement value) {
        try (Nested n = new Nested(objects, value.isJsonArray(), made)) {
            n.fill(value);
        }
    }

    // ---------------------------------------------------------------- reading

    private long size() {
        long[] n = new long[1];
        if (list) realmc.realm_list_size(ptr, n);
        else realmc.realm_dictionary_size(ptr, n);
        return n[0];
    }

    JsonElement toJson() {
        realm_value_t v = new realm_value_t();
        if (list) {
            JsonArray a = new JsonArray();
            for (long i = 0; i < size(); i++) {
                realmc.realm_list_get(ptr, i, v);
                a.add(toJson(new JsonPrimitive(i), v));
            }
            return a;
        }
        TreeMap<String, JsonElement> entries = new TreeMap<>();
        realm_value_t k = new realm_value_t();
        for (long i = 0; i < size(); i++) {
            realmc.realm_dictionary_get(ptr, i, k, v);
            String name = k.getString();
            entries.put(name, toJson(new JsonPrimitive(name), v));
        }
        return Objects.sorted(entries);
    }

    private JsonElement toJson(JsonElement step, realm_value_t v) {
        if (!isCollection(v)) return objects.toJson(v);
        try (Nested n = child(step, isList(v))) {
            return n.toJson();
        }
    }
}
