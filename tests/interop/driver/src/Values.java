// JSON values and the library's values.
//   null true 5 2.5 "text"  {"$oid": hex} {"$uuid": hex} {"$date": "seconds.nanoseconds"} {"$binary": base64}
//   {"$float": 1.5} {"$double": 2} {"$decimal": "1.25"}  {"$link": key, "class": name}
// and in a Mixed place also [...] and {...}, a list and a dictionary of such (Nested.java).
// A number is an int unless it has a fraction or exponent or the place is declared float, double or decimal128; a string is
// an ObjectId or UUID where the place is declared so. Read values come back in the same notation.

import com.google.gson.*;
import io.realm.kotlin.internal.interop.*;
import java.math.*;
import java.util.*;

final class Values {
    private static final int DECIMAL_BIAS = 6176;
    private static final int DECIMAL_EXPONENT_SHIFT = 49;   // in the upper of the two words
    private static final long DECIMAL_COEFFICIENT_MASK = (1L << DECIMAL_EXPONENT_SHIFT) - 1;

    private Values() {}

    /** A value without links for a place of the declared base type. */
    static realm_value_t toNative(JsonElement j, String base) {
        realm_value_t v = new realm_value_t();
        if (j.isJsonNull()) v.setType(realm_value_type_e.RLM_TYPE_NULL);
        else if (j.isJsonObject()) tagged(v, j.getAsJsonObject());
        else plain(v, j.getAsJsonPrimitive(), base);
        return v;
    }

    private static void plain(realm_value_t v, JsonPrimitive p, String base) {
        if (p.isBoolean()) {
            v.setType(realm_value_type_e.RLM_TYPE_BOOL);
            v.set_boolean(p.getAsBoolean());
        } else if (p.isNumber()) {
            String text = p.getAsString();
            if (base.equals("float")) tagged(v, object("$float", p));
            else if (base.equals("decimal128")) tagged(v, object("$decimal", new JsonPrimitive(text)));
            else if (base.equals("double") || !text.matches("-?\\d+")) tagged(v, object("$double", p));
            else {
                v.setType(realm_value_type_e.RLM_TYPE_INT);
                v.setInteger(Long.parseLong(text));
            }
        } else if (base.equals("objectId")) {
            tagged(v, object("$oid", p));
        } else if (base.equals("uuid")) {
            tagged(v, object("$uuid", p));
        } else {
            v.setType(realm_value_type_e.RLM_TYPE_STRING);
            v.setString(p.getAsString());
        }
    }

    private static void tagged(realm_value_t v, JsonObject o) {
        String tag = o.keySet().iterator().next();
        JsonElement x = o.get(tag);
        switch (tag) {
            case "$oid" -> {
                realm_object_id_t id = new realm_object_id_t();
                id.setBytes(bytes(x.getAsString()));
                v.setType(realm_value_type_e.RLM_TYPE_OBJECT_ID);
                v.setObject_id(id);
            }
            case "$uuid" -> {
                realm_uuid_t u = new realm_uuid_t();
                u.setBytes(bytes(x.getAsString().replace("-", "")));
                v.setType(realm_value_type_e.RLM_TYPE_UUID);
                v.setUuid(u);
            }
            case "$date" -> {
                String[] parts = x.getAsString().split("\\.");
                realm_timestamp_t t = new realm_timestamp_t();
                t.setSeconds(Long.parseLong(parts[0]));
                t.setNanoseconds(Integer.parseInt(parts[1]));
                v.setType(realm_value_type_e.RLM_TYPE_TIMESTAMP);
                v.setTimestamp(t);
            }
            case "$binary" -> {
                byte[] d = Base64.getDecoder().decode(x.getAsString());
                realm_binary_t b = new realm_binary_t();
                b.setData(d);
                b.setSize(d.length);
                v.setType(realm_value_type_e.RLM_TYPE_BINARY);
                v.setBinary(b);
                Sdk.pins.add(b);                               // the value refers to its bytes
            }
            case "$float" -> {
                v.setType(realm_value_type_e.RLM_TYPE_FLOAT);
                v.setFnum(x.getAsFloat());
            }
            case "$double" -> {
                v.setType(realm_value_type_e.RLM_TYPE_DOUBLE);
                v.setDnum(x.getAsDouble());
            }
            case "$decimal" -> {
                realm_decimal128_t d = new realm_decimal128_t();
                d.setW(decimal(new BigDecimal(x.getAsString())));
                v.setType(realm_value_type_e.RLM_TYPE_DECIMAL128);
                v.setDecimal128(d);
            }
            default -> throw new IllegalArgumentException("bad value " + o);
        }
    }

    /** A value without links as JSON. */
    static JsonElement toJson(realm_value_t v) {
        switch (v.getType()) {
            case realm_value_type_e.RLM_TYPE_NULL: return JsonNull.INSTANCE;
            case realm_value_type_e.RLM_TYPE_INT: return new JsonPrimitive(v.getInteger());
            case realm_value_type_e.RLM_TYPE_BOOL: return new JsonPrimitive(v.get_boolean());
            case realm_value_type_e.RLM_TYPE_STRING: return new JsonPrimitive(v.getString());
            case realm_value_type_e.RLM_TYPE_FLOAT: return object("$float", new JsonPrimitive(v.getFnum()));
            case realm_value_type_e.RLM_TYPE_DOUBLE: return object("$double", new JsonPrimitive(v.getDnum()));
            case realm_value_type_e.RLM_TYPE_DECIMAL128:
                return object("$decimal", new JsonPrimitive(decimal(v.getDecimal128().getW())));
            case realm_value_type_e.RLM_TYPE_OBJECT_ID:
                return object("$oid", new JsonPrimitive(hex(v.getObject_id().getBytes(), 12)));
            case realm_value_type_e.RLM_TYPE_UUID:
                return object("$uuid", new JsonPrimitive(hex(v.getUuid().getBytes(), 16)));
            case realm_value_type_e.RLM_TYPE_TIMESTAMP: {
                realm_timestamp_t t = v.getTimestamp();
                return object("$date", new JsonPrimitive(t.getSeconds() + "." + t.getNanoseconds()));
            }
            case realm_value_type_e.RLM_TYPE_BINARY:
                return object("$binary", new JsonPrimitive(Base64.getEncoder().encodeToString(v.getBinary().getData())));
            default: throw new IllegalStateException("value of an unexpected type " + v.getType());
        }
    }

    static JsonObject object(String key, JsonElement value) {
        JsonObject o = new JsonObject();
        o.add(key, value);
        return o;
    }

    // Decimal128 with the coefficient as a binary integer (BID): {lower word, upper word}.
    private static long[] decimal(BigDecimal d) {
        BigInteger c = d.unscaledValue().abs();
        if (d.precision() > 34) throw new IllegalArgumentException("over 34 digits: " + d);
        long sign = d.signum() < 0 ? 1L << 63 : 0;
        long exponent = (long) (DECIMAL_BIAS - d.scale()) << DECIMAL_EXPONENT_SHIFT;
        return new long[] {c.longValue(), sign | exponent | c.shiftRight(64).longValue()};
    }

    private static String decimal(long[] w) {
        if ((w[1] & 0x6000000000000000L) == 0x6000000000000000L) return String.format("special %016x", w[1]);
        int exponent = (int) (w[1] >>> DECIMAL_EXPONENT_SHIFT & 0x3fff) - DECIMAL_BIAS;
        BigInteger low = new BigInteger(Long.toUnsignedString(w[0]));
        BigInteger c = BigInteger.valueOf(w[1] & DECIMAL_COEFFICIENT_MASK).shiftLeft(64).or(low);
        return new BigDecimal(w[1] < 0 ? c.negate() : c, -exponent).toString();
    }

    private static short[] bytes(String hex) {
        byte[] b = HexFormat.of().parseHex(hex);
        short[] r = new short[b.length];
        for (int i = 0; i < b.length; i++) r[i] = (short) (b[i] & 0xff);
        return r;
    }

    private static String hex(short[] b, int n) {
        byte[] r = new byte[n];
        for (int i = 0; i < n; i++) r[i] = (byte) b[i];
        return HexFormat.of().formatHex(r);
    }
}
