// The classes of a Realm as JSON describes them, and their native form.
//   {"CLASS": {"pk": "_id", "props": {"_id": "objectId", "tags": "string?[]", ...}}, "E": {"embedded": true, "props": ...}}
// A type is int bool string binary mixed date float double decimal128 objectId uuid or a class name; then "?" for
// optional, then "[]" list, "{}" dictionary or "<>" set.

import com.google.gson.*;
import io.realm.kotlin.internal.interop.*;
import java.util.*;

final class Schema {
    enum Shape { SINGLE, LIST, SET, DICTIONARY }

    /** A property's type. Links, Mixed and dictionary values of links are optional by nature. */
    record Type(String base, boolean optional, Shape shape) {
        static Type parse(String text) {
            Shape shape = text.endsWith("[]") ? Shape.LIST : text.endsWith("{}") ? Shape.DICTIONARY
                : text.endsWith("<>") ? Shape.SET : Shape.SINGLE;
            String s = shape == Shape.SINGLE ? text : text.substring(0, text.length() - 2);
            boolean marked = s.endsWith("?");
            String base = marked ? s.substring(0, s.length() - 1) : s;
            boolean link = nativeType(base) == realm_property_type_e.RLM_PROPERTY_TYPE_OBJECT;
            boolean nature = base.equals("mixed") || link && (shape == Shape.SINGLE || shape == Shape.DICTIONARY);
            return new Type(base, marked || nature, shape);
        }

        boolean isLink() {
            return nativeType(base) == realm_property_type_e.RLM_PROPERTY_TYPE_OBJECT;
        }
    }

    /** A class: its properties in the order given, its primary key's name ("" for an embedded class). */
    record Table(String name, boolean embedded, String key, Map<String, Type> properties) {
        Type property(String property) {
            Type t = properties.get(property);
            if (t == null) throw new IllegalArgumentException("no property " + name + "." + property);
            return t;
        }
    }

    private final Map<String, Table> tables = new LinkedHashMap<>();

    Schema(JsonObject json) {
        for (Map.Entry<String, JsonElement> e : json.entrySet()) {
            JsonObject def = e.getValue().getAsJsonObject();
            Map<String, Type> properties = new LinkedHashMap<>();
            def.getAsJsonObject("props").entrySet().forEach(p -> properties.put(p.getKey(), Type.parse(p.getValue().getAsString())));
            boolean embedded = def.has("embedded") && def.get("embedded").getAsBoolean();
            tables.put(e.getKey(), new Table(e.getKey(), embedded, embedded ? "" : def.get("pk").getAsString(), properties));
        }
    }

    Collection<Table> tables() {
        return tables.values();
    }

    Table table(String name) {
        Table t = tables.get(name);
        if (t == null) throw new IllegalArgumentException("no class " + name);
        return t;
    }

    boolean isEmbedded(String base) {
        return tables.containsKey(base) && tables.get(base).embedded();
    }

    /** A new native schema. */
    long toNative() {
        realm_class_info_t classes = realmc.new_classArray(tables.size());
        SWIGTYPE_p_p_realm_property_info properties = realmc.new_propertyArrayArray(tables.size());
        int i = 0;
        for (Table t : tables.values()) {
            realm_class_info_t c = new realm_class_info_t();
            c.setName(t.name());
            c.setPrimary_key(t.key());
            c.setNum_properties(t.properties().size());
            c.setNum_computed_properties(0);
            c.setKey(realmc.getRLM_INVALID_CLASS_KEY());
            c.setFlags(t.embedded() ? realm_class_flags_e.RLM_CLASS_EMBEDDED : realm_class_flags_e.RLM_CLASS_NORMAL);
            realm_property_info_t array = realmc.new_propertyArray(t.properties().size());
            int k = 0;
            for (Map.Entry<String, Type> p : t.properties().entrySet())
                realmc.propertyArray_setitem(array, k++, property(p.getKey(), p.getValue(), p.getKey().equals(t.key())));
            Sdk.pins.add(c);
            realmc.classArray_setitem(classes, i, c);
            realmc.propertyArrayArray_setitem(properties, i++, array);
        }
        return realmc.realm_schema_new(classes, tables.size(), properties);
    }

    private static realm_property_info_t property(String name, Type type, boolean primaryKey) {
        realm_property_info_t p = new realm_property_info_t();
        p.setName(name);
        p.setPublic_name("");
        p.setType(nativeType(type.base()));
        p.setCollection_type(switch (type.shape()) {
            case SINGLE -> realm_collection_type_e.RLM_COLLECTION_TYPE_NONE;
            case LIST -> realm_collection_type_e.RLM_COLLECTION_TYPE_LIST;
            case SET -> realm_collection_type_e.RLM_COLLECTION_TYPE_SET;
            case DICTIONARY -> realm_collection_type_e.RLM_COLLECTION_TYPE_DICTIONARY;
        });
        p.setLink_target(type.isLink() ? type.base() : "");
        p.setLink_origin_property_name("");
        p.setKey(realmc.getRLM_INVALID_PROPERTY_KEY());
        p.setFlags((type.optional() ? realm_property_flags_e.RLM_PROPERTY_NULLABLE : 0)
            | (primaryKey ? realm_property_flags_e.RLM_PROPERTY_PRIMARY_KEY : 0));
        Sdk.pins.add(p);
        return p;
    }

    private static int nativeType(String base) {
        return switch (base) {
            case "int" -> realm_property_type_e.RLM_PROPERTY_TYPE_INT;
            case "bool" -> realm_property_type_e.RLM_PROPERTY_TYPE_BOOL;
            case "string" -> realm_property_type_e.RLM_PROPERTY_TYPE_STRING;
            case "binary" -> realm_property_type_e.RLM_PROPERTY_TYPE_BINARY;
            case "mixed" -> realm_property_type_e.RLM_PROPERTY_TYPE_MIXED;
            case "date" -> realm_property_type_e.RLM_PROPERTY_TYPE_TIMESTAMP;
            case "float" -> realm_property_type_e.RLM_PROPERTY_TYPE_FLOAT;
            case "double" -> realm_property_type_e.RLM_PROPERTY_TYPE_DOUBLE;
            case "decimal128" -> realm_property_type_e.RLM_PROPERTY_TYPE_DECIMAL128;
            case "objectId" -> realm_property_type_e.RLM_PROPERTY_TYPE_OBJECT_ID;
            case "uuid" -> realm_property_type_e.RLM_PROPERTY_TYPE_UUID;
            default -> realm_property_type_e.RLM_PROPERTY_TYPE_OBJECT;
        };
    }
}
